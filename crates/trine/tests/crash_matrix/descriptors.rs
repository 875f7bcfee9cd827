//! The failure happens while the master has no descriptor left.

use std::fs;
use std::time::Duration;

use trine::{TaskError, time};

use crate::common::temporary::TempPath;
use crate::common::waiting::until_or;
use crate::common::{again, not_spawned, role, run};
use crate::failure::{Failure::*, Fault, Limits, in_every_way, limit, pid_in};
use crate::pools::{WORKERS, are_unharmed, builder, is_at_full_strength_after, others};
use crate::starts::{initializer, pool_for, preload};

/// Takes all free descriptors.
fn hoard() -> Vec<fs::File> {
    std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect()
}

/// Runs `test` in a process that may have few descriptors. It must be the caller's whole work.
fn with_few_descriptors(test: impl FnOnce()) {
    if role().is_none() {
        run(again("master"));
        return;
    }
    limit(libc::RLIMIT_NOFILE, 100);
    test();
}

/// The task's error is the same as with descriptors, and the other worker does the other tasks.
/// When there are descriptors again, there are two workers again.
#[test]
fn while_the_master_has_no_descriptors() {
    let every_way = || {
        in_every_way(|fault, _| {
            let pool = builder(fault.failure).build();
            until_or("the workers", || pool.worker_pids().len() == WORKERS);
            are_unharmed(others(&pool), "before");
            let before = others(&pool);
            let most = if fault.failure.takes_time() { 700 } else { 3_600_000 };
            let task = time::timeout(Duration::from_millis(most), || {
                let fail = |fault: Fault| fault.fail(Limits::OfThePool);
                Ok::<_, TaskError>(pool.spawn(fault.clone(), fail))
            });
            let task = task.unwrap().unwrap();
            // Finding the process takes a descriptor.
            let pid = fault.failure.comes_from_outside().then(|| pid_in(&fault.folder));
            let hoard = hoard();
            if let Some(pid) = pid {
                let stop = fault.failure == StoppedFromOutside;
                crate::failure::signal(pid, if stop { libc::SIGSTOP } else { libc::SIGKILL });
            }
            fault.check_end(&task.join(), "without descriptors");
            are_unharmed(before, "without descriptors");
            are_unharmed(others(&pool), "without descriptors");
            drop(hoard);
            is_at_full_strength_after(pool);
        })
    };
    with_few_descriptors(every_way);
}

/// A worker that takes too long to start is killed and cannot be replaced. The other worker does
/// the tasks.
#[test]
fn while_a_worker_starts_and_the_master_has_no_descriptors() {
    with_few_descriptors(|| {
        let folder = TempPath::folder("matrix");
        let fault = Fault::new(TimeIsUp, &folder);
        let pool = pool_for(&fault).initializer(initializer).build();
        let tasks = others(&pool);
        let pid = pid_in(&folder.0);
        until_or("the workers", || pool.worker_pids().len() == WORKERS);
        let hoard = hoard();
        until_or("the end of the worker that takes too long", || {
            !pool.worker_pids().contains(&pid)
        });
        are_unharmed(tasks, "without descriptors");
        are_unharmed(others(&pool), "without descriptors");
        drop(hoard);
        is_at_full_strength_after(pool);
    });
}

/// A template that takes too long is killed, and no other can be started. The tasks end with that
/// reason, and none is lost.
#[test]
fn while_a_template_starts_and_the_master_has_no_descriptors() {
    with_few_descriptors(|| {
        let folder = TempPath::folder("matrix");
        let fault = Fault::new(TimeIsUp, &folder);
        let pool = pool_for(&fault).preload(preload).build();
        let tasks = others(&pool);
        pid_in(&folder.0);
        let hoard = hoard();
        for task in tasks {
            let error = task.join().unwrap_err();
            assert!(not_spawned(&error).contains("descriptor"), "{error}");
        }
        drop(hoard);
        is_at_full_strength_after(pool);
    });
}
