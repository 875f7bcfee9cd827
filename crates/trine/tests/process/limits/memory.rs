//! Memory limits of process tasks, and the meaning of running out of memory.
//!
//! If trine can make control groups, the kernel kills at the limit and refuses nothing; see
//! `group.rs`. Then the tests skip the refusals.

use std::hint::black_box;
use std::process::abort;
use std::ptr;

use trine::process::{Builder, Sandbox};
use trine::{Cause, Limit, TaskError, coroutine};

use crate::common::{not_spawned, worker_group};

const MIB: u64 = 1 << 20;
const LIMIT: u64 = 64 * MIB;

fn limited() -> Builder {
    Builder::new().memory_limit(LIMIT)
}

fn error_of(f: fn(())) -> TaskError {
    limited().spawn((), f).join().unwrap_err()
}

fn assert_out_of_memory(error: &TaskError) {
    let Cause::Signaled { signal, out_of_memory, limit, .. } = error.cause() else {
        panic!("{error:?}")
    };
    let by = match *signal {
        libc::SIGABRT => "SIGABRT (6)",
        libc::SIGKILL if worker_group().is_some() => "SIGKILL (9)",
        _ => panic!("{error}"),
    };
    assert!(*out_of_memory, "{error}");
    assert_eq!(*limit, Some(Limit::Memory(LIMIT)));
    assert!(error.is_out_of_memory() && error.is_crash());
    let text = error.to_string();
    let expected = format!("was ended by {by}: it needed more than its memory limit of 64 MiB");
    assert!(text.ends_with(&expected), "{text}");
}

fn assert_aborted_for_another_reason(error: &TaskError) {
    let Cause::Signaled { signal, out_of_memory, limit, .. } = error.cause() else {
        panic!("{error:?}")
    };
    assert_eq!((*signal, *out_of_memory, *limit), (libc::SIGABRT, false, None), "{error}");
    assert!(!error.is_out_of_memory());
}

/// Allocates blocks of `len` bytes, until there are no more.
fn fill(len: usize) -> ! {
    let mut blocks = Vec::new();
    loop {
        blocks.push(black_box(vec![1_u8; len]));
    }
}

/// Maps memory as C does. Returns an address, or null.
fn map(len: u64) -> *mut libc::c_void {
    let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
    // SAFETY: a new mapping at an address of the kernel's choice.
    let mapped = unsafe { libc::mmap(ptr::null_mut(), len as usize, access, flags, -1, 0) };
    if mapped == libc::MAP_FAILED { ptr::null_mut() } else { mapped }
}

/// Takes all that the allocator can give, in ever smaller pieces, and leaves `errno` at `ENOMEM`.
fn exhaust() {
    for len in [MIB as usize, 64 << 10, 4 << 10, 64] {
        // Hidden from the optimizer, which would remove unused allocations.
        //
        // SAFETY: leaked, and only compared with null.
        while !black_box(unsafe { libc::malloc(len) }).is_null() {}
    }
}

#[test]
fn an_allocation_beyond_the_limit_is_known_as_such() {
    assert_out_of_memory(&error_of(|()| fill(16)));
    assert_out_of_memory(&error_of(|()| fill(5_000)));
    assert_out_of_memory(&error_of(|()| fill(3 << 20)));
    // An allocation that would never fit.
    assert_out_of_memory(&error_of(|()| drop(black_box(Vec::<u8>::with_capacity(1 << 40)))));
    assert_out_of_memory(&error_of(|()| drop(black_box([1_u8; 1 << 20].repeat(80)))));
}

#[test]
fn it_is_known_in_a_sandbox() {
    let closed = Sandbox::new().no_network().no_files().no_new_processes().no_exec();
    for sandbox in [Sandbox::new(), closed.clone(), closed.kill_on_violation()] {
        let task = limited().sandbox(sandbox.clone()).spawn((), |()| -> () { fill(3 << 20) });
        assert_out_of_memory(&task.join().unwrap_err());
        let task = limited().sandbox(sandbox).spawn((), |()| -> () { abort() });
        assert_aborted_for_another_reason(&task.join().unwrap_err());
    }
}

#[test]
fn it_is_known_on_every_stack_of_the_task() {
    assert_out_of_memory(&error_of(|()| {
        let _ = std::thread::spawn(|| fill(5_000)).join();
    }));
    assert_out_of_memory(&error_of(|()| {
        let _ = coroutine::spawn(|| fill(5_000)).join();
    }));
    assert_out_of_memory(&error_of(|()| {
        let _ = trine::thread::spawn(|| drop(black_box(Vec::<u8>::with_capacity(1 << 40)))).join();
    }));
}

#[test]
fn a_library_that_aborts_when_there_is_no_memory_is_known_too() {
    assert_out_of_memory(&error_of(|()| {
        exhaust();
        abort();
    }));
}

#[test]
fn an_argument_and_a_result_beyond_the_limit_are_known() {
    let task = limited().spawn("x".repeat(80 << 20), |text| text.len());
    assert_out_of_memory(&task.join().unwrap_err());
    let task = limited().spawn((), |()| "x".repeat(80 << 20));
    assert_out_of_memory(&task.join().unwrap_err());
}

#[test]
fn an_abort_for_another_reason_is_not_said_to_be_one() {
    assert_aborted_for_another_reason(&error_of(|()| abort()));
    // A refusal that was handled, and is still in `errno`.
    assert_aborted_for_another_reason(&error_of(|()| {
        assert!(map(1 << 40).is_null());
        abort();
    }));
    // Almost used up, and nothing was refused.
    assert_aborted_for_another_reason(&error_of(|()| {
        let _most = black_box(vec![1_u8; 50 << 20]);
        abort();
    }));
    // A panic about a length that no memory has. Its code comes right after that of a failed
    // allocation.
    assert_aborted_for_another_reason(&error_of(|()| {
        std::panic::set_hook(Box::new(|_| abort()));
        drop(black_box(Vec::<u64>::with_capacity(black_box(usize::MAX))));
    }));
    if worker_group().is_some() {
        return;
    }
    // Used up for a moment, and freed.
    assert_aborted_for_another_reason(&error_of(|()| {
        let mut blocks: Vec<Vec<u8>> = Vec::with_capacity(1000);
        loop {
            let mut block = Vec::new();
            if block.try_reserve_exact(MIB as usize).is_err() {
                break;
            }
            blocks.push(block);
        }
        drop(blocks);
        abort();
    }));
    // Aborted by a signal from itself, at a bad moment.
    assert_aborted_for_another_reason(&error_of(|()| {
        exhaust();
        // SAFETY: signals itself.
        unsafe { libc::kill(libc::getpid(), libc::SIGABRT) };
    }));
    // Another signal than an abort.
    let error = error_of(|()| {
        exhaust();
        // SAFETY: as above.
        unsafe { libc::raise(libc::SIGKILL) };
    });
    assert!(!error.is_out_of_memory(), "{error}");
}

#[test]
fn what_the_task_forks_does_not_speak_for_it() {
    let error = error_of(|()| {
        // SAFETY: the worker has one thread, so no lock is held by another thread in the child.
        let child = unsafe { libc::fork() };
        if child == 0 {
            drop(black_box(Vec::<u8>::with_capacity(1 << 40)));
        }
        let mut status = 0;
        // SAFETY: waits for its own child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(libc::WTERMSIG(status), libc::SIGABRT);
        abort();
    });
    assert_aborted_for_another_reason(&error);
}

#[test]
fn a_refusal_that_is_handled_is_no_error() {
    let task = limited().spawn((), |()| {
        let refused = map(LIMIT).is_null();
        let mapped = !map(LIMIT / 2).is_null();
        let huge = Vec::<u8>::new().try_reserve(1 << 40).is_err();
        (refused, mapped, huge, black_box(vec![1_u8; 8 << 20]).len())
    });
    // A group counts the pages that were touched.
    let refused = worker_group().is_none();
    assert_eq!(task.join().unwrap(), (refused, true, true, 8 << 20));
}

#[test]
fn memory_that_is_shared_or_not_writable_does_not_count() {
    let task = limited().spawn((), |()| {
        let flags = [
            (libc::PROT_NONE, libc::MAP_PRIVATE),
            (libc::PROT_READ, libc::MAP_PRIVATE),
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED),
        ];
        flags.map(|(access, flags)| {
            let (len, flags) = (4 * LIMIT as usize, flags | libc::MAP_ANON);
            // SAFETY: a new mapping at an address of the kernel's choice.
            unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) != libc::MAP_FAILED }
        })
    });
    assert_eq!(task.join().unwrap(), [true; 3]);
}

#[test]
fn without_a_limit_of_trine_s_a_failed_allocation_is_known_as_one() {
    let task = Builder::new().spawn((), |()| drop(black_box(Vec::<u8>::with_capacity(1 << 60))));
    let error = task.join().unwrap_err();
    let Cause::Signaled { limit: None, out_of_memory: true, .. } = error.cause() else {
        panic!("{error:?}")
    };
    assert!(error.to_string().ends_with("SIGABRT (6): it ran out of memory"), "{error}");
}

#[test]
fn a_limit_that_leaves_no_room_is_refused_with_what_it_takes() {
    let refused = |bytes| {
        let error = Builder::new().memory_limit(bytes).spawn((), |()| ()).join().unwrap_err();
        not_spawned(&error).to_owned()
    };
    assert!(refused(0).contains("a memory limit of 0 bytes"), "{}", refused(0));
    for bytes in [1, 4096, 512 << 10] {
        let reason = refused(bytes);
        assert!(reason.contains("is too low") && reason.contains("allow"), "{reason}");
    }
    // The amount that the error calls enough is enough.
    let reason = refused(4096);
    let (_, least) = reason.split_once("allow ").unwrap();
    let number: f64 = least.split(' ').next().unwrap().parse().unwrap();
    let unit = if least.contains("MiB") { MIB } else { 1 << 10 };
    let least = (number * unit as f64) as u64 + MIB / 10;
    assert_eq!(Builder::new().memory_limit(least).spawn(3, |n: u8| n + 1).join().unwrap(), 4);
    // More than any machine has is no limit, and no error.
    assert_eq!(Builder::new().memory_limit(u64::MAX).spawn(3, |n: u8| n + 1).join().unwrap(), 4);
}
