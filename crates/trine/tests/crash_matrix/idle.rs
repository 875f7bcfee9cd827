//! The failure happens in a worker that has no task.

use std::fs;
use std::time::Duration;

use trine::{Cause, TaskError, time};

use crate::common::waiting::until_or;
use crate::failure::{Failure::*, Limits, in_every_way, pid_in, signal};
use crate::pools::{WORKERS, are_unharmed, builder, is_at_full_strength, one_may_fail, others};

/// The worker has sent its result; the thread that the task has left behind fails then.
///
/// No error is reported, since there is no task. A panic on a thread does no harm, no time limit
/// applies, and an overflow there is a SIGSEGV. A pool limits the processor time of tasks, so the
/// thread limits its own.
#[test]
fn while_it_is_idle() {
    in_every_way(|fault, folder| {
        if fault.failure.is_panic() || fault.failure == TimeIsUp {
            return;
        }
        let pool = builder(fault.failure).build();
        let left_behind = pool.spawn(fault.clone(), |fault| {
            if fault.failure.comes_from_outside() {
                return fault.note_process();
            }
            std::thread::spawn(move || {
                let go = fault.folder.join("go");
                while !go.exists() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                let own = fault.failure == OutOfProcessorTime;
                fault.fail(if own { Limits::Own } else { Limits::OfThePool });
                fs::write(fault.folder.join("done"), []).unwrap();
            });
        });
        left_behind.join().unwrap();
        fs::write(folder.0.join("go"), []).unwrap();
        fault.act();
        let pid = pid_in(&folder.0);
        match fault.failure {
            StoppedFromOutside => {
                // Each worker gets a task. One of them times out while it waits for the stopped
                // worker.
                let stopped = time::timeout(Duration::from_millis(300), || {
                    let tasks = (0..WORKERS).map(|_| pool.spawn((), |()| ()));
                    Ok::<_, TaskError>(tasks.collect::<Vec<_>>())
                });
                for task in stopped.unwrap().unwrap() {
                    let end = task.join();
                    let is_late = |error: &TaskError| matches!(error.cause(), Cause::TimedOut);
                    assert!(end.as_ref().err().is_none_or(is_late), "{end:?}");
                }
                signal(pid, libc::SIGKILL);
            }
            // It lives on until it gets a request.
            ClosesItsDescriptors | OverwritesItsMemory => {
                let done = folder.0.join("done");
                until_or("the failure of the thread", || {
                    done.exists() || fault.failure == ClosesItsDescriptors
                });
                one_may_fail(&fault, others(&pool), "idle");
            }
            _ => {
                until_or("the end of the worker", || !pool.worker_pids().contains(&pid));
                are_unharmed(others(&pool), "idle");
            }
        }
        is_at_full_strength(pool);
    });
}
