//! A hostile worker works on the files that it has, and on the memory that it shares with its
//! master. It reaches no words of another worker.

use std::fs;

use trine::Task;
use trine::process::{Pool, Sandbox};

use super::{shared, wait_for};
use crate::common::temporary::TempPath;
use crate::common::waiting::TIMEOUT;

/// Enlarges each memory that the worker shares with its master, and overwrites all behind it.
///
/// A board of several workers would have the number of a cancelled task in any of its words, so
/// this writes `victim` into all of them.
fn overwrite_what_lies_behind(victim: u64) {
    const MORE: usize = 1 << 20;
    let mut shared = shared();
    // A board would be the smallest.
    shared.sort_by_key(|(start, end)| end - start);
    for (start, end) in shared {
        let len = end - start;
        // SAFETY: a new mapping of the same file, which moves the old one to a free place. No
        // reference to its bytes exists outside of the library, which does not run meanwhile.
        let all = unsafe {
            libc::mremap(start as *mut _, 0, len + MORE, libc::MREMAP_MAYMOVE).cast::<u64>()
        };
        assert_ne!(all.cast(), libc::MAP_FAILED);
        for word in (0..(len + MORE) / 8).filter(|word| *word >= len / 8 || *word % 8 == 0) {
            // SAFETY: within the new mapping; behind the file's end this raises SIGBUS.
            unsafe { all.add(word).write_volatile(victim) };
        }
    }
}

/// Tries to change each file that the worker has open or mapped: its size, its seals, its bytes.
fn change_files(_: u64) {
    let mapped =
        shared().into_iter().map(|(from, to)| format!("/proc/self/map_files/{from:x}-{to:x}"));
    let opened =
        mapped.filter_map(|path| fs::File::options().read(true).write(true).open(path).ok());
    let opened: Vec<_> = opened.collect();
    let garbage = vec![0xff_u8; 1 << 20];
    for number in (3..1024).filter(|number| fs::metadata(format!("/proc/self/fd/{number}")).is_ok())
    {
        // SAFETY: no memory involved but `garbage`, which is as long as stated. The numbers are
        // those of the worker's own files.
        unsafe {
            libc::fcntl(number, libc::F_ADD_SEALS, libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE);
            libc::pwrite(number, garbage.as_ptr().cast(), garbage.len(), 0);
            libc::ftruncate(number, 0);
            libc::ftruncate(number, 1 << 30);
            libc::fallocate(
                number,
                libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE,
                0,
                1 << 30,
            );
            libc::fcntl(number, libc::F_SETFL, libc::O_NONBLOCK | libc::O_APPEND);
        }
    }
    drop(opened);
    std::process::abort();
}

/// Runs the attack while a worker of another pool has a task and awaits another one.
fn attack_beside_a_victim(attack: fn(&Pool, u64) -> Task<()>) {
    let sandbox = Sandbox::new().no_network().no_exec().no_new_processes();
    let hostile = Pool::builder().workers(1).sandbox(sandbox).build();
    // Its worker comes first: a mapping is extended upwards.
    hostile.spawn(0, |n: u64| n).join().unwrap();
    let honest = Pool::new(1);
    let go = TempPath::new("go");
    let first = honest.spawn(go.owned(), wait_for);
    let second = honest.spawn(20, |n: u64| n + 1);
    let ended = attack(&hostile, second.id().get()).join_timeout(TIMEOUT);
    assert!(ended.expect("the attack ends").unwrap_err().is_crash());
    fs::write(&go, []).unwrap();
    first.join().unwrap();
    assert_eq!(second.join().unwrap(), 21);
    // Each has a worker that works.
    assert_eq!(honest.spawn(1, |n: u64| n).join().unwrap(), 1);
    assert_eq!(hostile.spawn(2, |n: u64| n).join().unwrap(), 2);
}

#[test]
fn a_worker_that_enlarges_its_memory_reaches_no_other_worker() {
    attack_beside_a_victim(|pool, victim| pool.spawn(victim, overwrite_what_lies_behind));
}

#[test]
fn a_worker_that_changes_its_files_harms_no_other_worker() {
    attack_beside_a_victim(|pool, victim| pool.spawn(victim, change_files));
}
