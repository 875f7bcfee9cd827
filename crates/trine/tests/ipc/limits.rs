//! Limits of the system: an error that names the one that was met, and never a signal.

use std::fs;
use std::io;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::Resource;
use trine::ipc::{self, Mutex, Semaphore, Shared, SharedMut};
use trine::{process, thread};

use crate::common::limits::limit_for_now;
use crate::common::places::everywhere;
use crate::common::temporary::unique;
use crate::common::{again, not_spawned, role, run};

/// Returns the text of an error.
#[track_caller]
fn text_of<T>(result: Result<T, impl ToString>) -> String {
    result.err().expect("it is refused").to_string()
}

fn is_xfsz_pending() -> bool {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: the first call initialises the set, and the second fills it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigpending(set.as_mut_ptr());
        libc::sigismember(set.as_ptr(), libc::SIGXFSZ) == 1
    }
}

fn names_the_limit_for_files(what: &str, text: &str) {
    assert!(text.contains("RLIMIT_FSIZE") && text.contains("ulimit -f"), "{what}: {text}");
}

/// Makes one of everything that is in shared memory, where files may have no byte.
fn make_all() {
    for (what, text) in [
        ("a channel", text_of(ipc::channel::<u64>(16))),
        ("constant memory", text_of(Shared::new(1_u8))),
        ("memory to be built", text_of(Shared::<[u64]>::build(1 << 20, |_| ()))),
        ("atomics", text_of(SharedMut::<std::sync::atomic::AtomicU8>::zero())),
        ("a mutex", text_of(Mutex::new(1_u64))),
        ("a semaphore", text_of(Semaphore::new(1))),
        ("a named semaphore", text_of(Semaphore::create(unique("semaphore"), 0o600, 1))),
    ] {
        names_the_limit_for_files(what, &text);
    }
    assert!(!is_xfsz_pending());
}

#[test]
fn the_limit_for_files_is_an_error_that_names_it_and_no_signal() {
    if role().is_none() {
        run(again("alone"));
        return;
    }
    let before = limit_for_now(Resource::Fsize, 0);
    everywhere(make_all);
    let error = process::spawn(1, |n: u8| n).join().unwrap_err();
    names_the_limit_for_files("the first process task", not_spawned(&error));
    limit_for_now(Resource::Fsize, before.current.unwrap_or(u64::MAX));
    assert_eq!(Semaphore::new(1).unwrap().available(), 1);
    // Long values are in memory of their own.
    let pool = process::Pool::new(1);
    assert_eq!(pool.spawn(5, |n: u8| n).join().unwrap(), 5);
    limit_for_now(Resource::Fsize, 1 << 18);
    let error = pool.spawn(vec![1_u8; 1 << 19], |bytes: Vec<u8>| bytes.len()).join().unwrap_err();
    names_the_limit_for_files("a long argument", &error.to_string());
    let long_result = |()| {
        limit_for_now(Resource::Fsize, 1 << 18);
        vec![1_u8; 1 << 19]
    };
    let error = pool.spawn((), long_result).join().unwrap_err();
    names_the_limit_for_files("a long result", &error.to_string());
    assert_eq!(pool.spawn(6, |n: u8| n).join().unwrap(), 6);
    pool.shutdown();
}

/// The program's own signal stays for the program.
#[test]
fn a_blocked_signal_of_the_program_is_left_to_it() {
    if role().is_none() {
        run(again("alone"));
        return;
    }
    limit_for_now(Resource::Fsize, 0);
    // SAFETY: valid sets. The signal is blocked when it is raised.
    unsafe {
        let mut set = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGXFSZ);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        make_all();
        libc::raise(libc::SIGXFSZ);
    }
    names_the_limit_for_files("a semaphore", &text_of(Semaphore::new(1)));
    assert!(is_xfsz_pending());
}

#[test]
fn the_limit_that_was_met_is_named_and_no_other() {
    match role().as_deref() {
        Some("addresses") => {
            limit_for_now(Resource::As, 4 << 30);
            for text in [
                text_of(Shared::<[u8]>::zeroed(5 << 30)),
                text_of(ipc::channel_with::<u64>(5 << 10, 1 << 20)),
            ] {
                assert!(text.contains("RLIMIT_AS (`ulimit -v`)"), "{text}");
                assert!(!text.contains("max_map_count"), "{text}");
            }
        }
        Some("mappings") => {
            let most = fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
            if most.trim().parse::<u64>().unwrap() > 300_000 {
                return;
            }
            let map = |access| {
                // SAFETY: a mapping at an address of the kernel's choice replaces nothing.
                let page = unsafe {
                    mmap_anonymous(std::ptr::null_mut(), 4096, access, MapFlags::PRIVATE)
                };
                page.map_err(io::Error::from)
            };
            // Neighbours with the same access would be one mapping.
            while map(ProtFlags::READ).and_then(|_| map(ProtFlags::empty())).is_ok() {}
            let text = text_of(Shared::new(1));
            assert!(text.contains("vm.max_map_count allows"), "{text}");
            assert!(!text.contains("ulimit -v"), "{text}");
        }
        Some("processes") => {
            // The limit applies to a user, and the superuser has none.
            //
            // SAFETY: no memory involved.
            if unsafe { libc::getuid() } == 0 {
                // SAFETY: as above.
                assert_eq!(unsafe { libc::setuid(54_323) }, 0);
            }
            limit_for_now(Resource::Nproc, 1);
            let error = thread::spawn(|| ()).join().unwrap_err();
            let text = not_spawned(&error);
            assert!(text.contains("1 processes and threads that RLIMIT_NPROC"), "{text}");
            assert!(!text.contains("threads-max"), "{text}");
        }
        _ => {
            for role in ["addresses", "mappings", "processes"] {
                run(again(role));
            }
        }
    }
}
