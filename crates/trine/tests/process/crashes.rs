//! The error of a task says how its process ended, and the pool goes on.

use std::process::abort;

use trine::{Cause, TaskError, process};

use crate::common::processes::{overflow_the_stack, signal_of, stay_for_ever};

fn error_of(f: fn(())) -> TaskError {
    process::spawn((), f).join().unwrap_err()
}

fn exit_code_of(error: &TaskError) -> i32 {
    match error.cause() {
        Cause::Exited { code } => *code,
        other => panic!("{other:?}"),
    }
}

#[inline(never)]
fn function_that_panics(n: u32) -> u32 {
    assert!(n < 3, "{n} is too many");
    n
}

const LINE_OF_THE_PANIC: u32 = line!() - 4;

#[test]
fn a_panic_comes_with_message_place_and_backtrace() {
    let error = process::spawn(5, function_that_panics).join().unwrap_err();
    let Cause::Panicked { message, location: Some(location), backtrace, .. } = error.cause() else {
        panic!("{error:?}");
    };
    assert_eq!(message, "5 is too many");
    assert!(location.file.ends_with("crashes.rs"), "{location}");
    assert_eq!(location.line, LINE_OF_THE_PANIC);
    let text = backtrace.to_string();
    assert!(text.contains("function_that_panics"), "{text}");
    assert!(text.contains("crashes.rs"), "{text}");
    let payload = error.into_panic().unwrap();
    assert_eq!(payload.downcast_ref::<String>().unwrap(), "5 is too many");
}

#[test]
fn a_panic_leaves_the_worker_alive() {
    let pool = process::Pool::new(1);
    let pid = pool.spawn((), |()| std::process::id()).join().unwrap();
    for _ in 0..3 {
        assert!(pool.spawn(9, function_that_panics).join().unwrap_err().is_panic());
    }
    assert_eq!(pool.spawn((), |()| std::process::id()).join().unwrap(), pid);
}

#[test]
fn a_panic_whose_payload_is_no_text_is_a_panic_all_the_same() {
    struct Spiteful;
    impl Drop for Spiteful {
        fn drop(&mut self) {
            panic!("even dropping it panics");
        }
    }
    let pool = process::Pool::new(1);
    for error in [
        pool.spawn((), |()| -> () { std::panic::panic_any(17_u8) }).join().unwrap_err(),
        pool.spawn((), |()| -> () { std::panic::panic_any(Spiteful) }).join().unwrap_err(),
    ] {
        let Cause::Panicked { message, location, .. } = error.cause() else { panic!("{error:?}") };
        assert_eq!(message, "");
        assert!(location.is_some());
    }
    assert_eq!(pool.spawn(3, |n: u8| n).join().unwrap(), 3);
}

#[test]
fn signals_arrive_as_what_they_were() {
    assert_eq!(signal_of(&error_of(|()| abort())), libc::SIGABRT);
    let null = error_of(|()| {
        let nowhere = std::hint::black_box(std::ptr::null_mut::<u8>());
        // SAFETY: none; the crash is intended, and it is another process's.
        unsafe { nowhere.write_volatile(1) };
    });
    assert_eq!(signal_of(&null), libc::SIGSEGV);
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT] {
        let task = process::spawn(signal, |signal| {
            // SAFETY: the worker signals itself.
            unsafe { libc::raise(signal) };
        });
        let error = task.join().unwrap_err();
        assert_eq!(signal_of(&error), signal);
        assert!(error.is_crash());
    }
    let text = error_of(|()| abort()).to_string();
    assert!(text.contains("SIGABRT") && text.contains("process #"), "{text}");
}

#[test]
fn exiting_is_an_error_of_the_task_whatever_the_code() {
    assert_eq!(exit_code_of(&error_of(|()| std::process::exit(3))), 3);
    assert_eq!(exit_code_of(&error_of(|()| std::process::exit(0))), 0);
    let pool = process::Pool::new(1);
    assert_eq!(
        exit_code_of(&pool.spawn((), |()| -> () { std::process::exit(0) }).join().unwrap_err()),
        0
    );
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
}

#[test]
fn a_stack_overflow_is_told_apart_from_other_faults() {
    let pool = process::Pool::new(1);
    for _ in 0..3 {
        let error = pool.spawn(0, overflow_the_stack).join().unwrap_err();
        assert!(matches!(error.cause(), Cause::StackOverflow), "{error:?}");
        assert!(error.is_crash());
    }
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
}

#[test]
fn a_large_frame_that_jumps_over_pages_is_an_overflow_too() {
    #[inline(never)]
    fn wide(depth: u64) -> u64 {
        let mut room = [0_u8; 300_000];
        std::hint::black_box(&mut room);
        if depth == u64::MAX { 0 } else { wide(depth + 1) + u64::from(room[9]) }
    }
    let error = process::spawn(0, wide).join().unwrap_err();
    assert!(matches!(error.cause(), Cause::StackOverflow), "{error:?}");
}

#[test]
fn an_overflow_on_a_thread_of_the_task_is_a_crash_by_a_signal() {
    let error = error_of(|()| {
        let _ = std::thread::spawn(|| overflow_the_stack(0)).join();
    });
    assert!(matches!(error.cause(), Cause::Signaled { .. }), "{error:?}");
}

#[test]
fn a_worker_that_closes_its_connection_is_lost_and_replaced() {
    let pool = process::Pool::new(1);
    let task = pool.spawn((), |()| -> () {
        for descriptor in 0..1024 {
            // SAFETY: not sound in general; nothing uses the worker's descriptors again.
            unsafe { libc::close(descriptor) };
        }
        stay_for_ever()
    });
    let error = task.join().unwrap_err();
    assert!(matches!(error.cause(), Cause::Lost { .. }), "{error:?}");
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
}

#[test]
fn a_worker_that_closes_its_connection_and_returns_is_an_error_as_well() {
    let error = error_of(|()| {
        for descriptor in 3..1024 {
            // SAFETY: as above.
            unsafe { libc::close(descriptor) };
        }
    });
    // The worker notices that it cannot reply, and exits.
    assert!(matches!(error.cause(), Cause::Exited { .. } | Cause::Lost { .. }), "{error:?}");
}

#[test]
fn a_worker_that_becomes_another_program_is_an_error_of_its_task() {
    let error = error_of(|()| {
        use std::os::unix::process::CommandExt;
        let error = std::process::Command::new("sh").args(["-c", "exit 7"]).exec();
        panic!("{error}");
    });
    assert_eq!(exit_code_of(&error), 7);
}

#[test]
fn nonsense_on_the_connection_harms_nobody() {
    fn sockets() -> impl Iterator<Item = i32> {
        // SAFETY: only queries.
        (3..1024).filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1)
    }
    let pool = process::Pool::new(1);
    let nonsense: [fn() -> Vec<u8>; 3] = [
        || vec![0x55; 4096],
        // A frame head that announces more than any machine has.
        || {
            let mut head = Vec::from(*b"trn1\x05\0\0\0");
            head.extend([1, 0, 0, 0, 0, 0, 0, 0]);
            head.extend([0xff; 8]);
            head.extend([0; 16]);
            head
        },
        // A reply for a task that the worker does not have.
        || {
            let mut head = Vec::from(*b"trn1\x05\0\0\0");
            head.extend(u64::MAX.to_le_bytes());
            head.extend([0; 8 + 16]);
            head
        },
    ];
    for bytes in nonsense {
        let task = pool.spawn(bytes(), |bytes| -> () {
            for socket in sockets() {
                // SAFETY: the buffer is valid for its length.
                unsafe { libc::write(socket, bytes.as_ptr().cast(), bytes.len()) };
            }
            stay_for_ever()
        });
        let error = task.join().unwrap_err();
        assert!(matches!(error.cause(), Cause::Lost { .. }), "{error:?}");
    }
    // A long body that is announced and never sent costs only its sender.
    let task = pool.spawn((), |()| -> () {
        let mut head = Vec::from(*b"trn1\x05\0\0\0");
        head.extend(trine::task::current().unwrap().id.get().to_le_bytes());
        head.extend((1_u64 << 30).to_le_bytes());
        head.extend([0; 16]);
        for socket in sockets() {
            // SAFETY: as above.
            unsafe { libc::write(socket, head.as_ptr().cast(), head.len()) };
        }
        abort()
    });
    assert_eq!(signal_of(&task.join().unwrap_err()), libc::SIGABRT);
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
}

/// Forks, and returns in both processes.
fn two(overflow: bool) -> i32 {
    fn deep(depth: u64) -> u64 {
        let ballast = std::hint::black_box([depth; 32]);
        if depth == u64::MAX { 0 } else { deep(depth + 1) + ballast[1] }
    }
    // SAFETY: the worker has one thread, so no lock is held by another thread in the child.
    let child = unsafe { libc::fork() };
    if child == 0 && overflow {
        deep(0);
    }
    child
}

/// Reaps a child of this process. Returns its status.
fn status_of(child: i32) -> i32 {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

#[test]
fn what_a_task_forks_is_no_second_worker() {
    let pool = process::Pool::new(1);
    for _ in 0..10 {
        let child = pool.spawn(false, two).join().unwrap();
        assert!(child > 0);
        // If the child went on as a worker, some of these would have two replies, and it would not
        // end.
        let tasks: Vec<_> = (0..50_u64).map(|n| pool.spawn(n, |n| n)).collect();
        for (n, task) in (0..).zip(tasks) {
            assert_eq!(task.join().unwrap(), n);
        }
        assert_eq!(pool.spawn(child, status_of).join().unwrap(), 0, "it exits with 0");
    }
    let child = pool.spawn(true, two).join().unwrap();
    let status = pool.spawn(child, status_of).join().unwrap();
    assert_eq!(libc::WTERMSIG(status), libc::SIGABRT, "its overflow is its own affair");
    assert_eq!(pool.worker_pids().len(), 1);
    pool.shutdown();
}
