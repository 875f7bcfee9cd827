//! The failure happens once at the origin of a worker: in the worker before its first task, in its
//! template, or in a template that has nothing to do. No task is affected, except by damage to
//! memory that workers share.

use std::time::Duration;

use trine::process::{Pool, PoolBuilder};

use crate::common::temporary::TempPath;
use crate::common::waiting::until_or;
use crate::common::{again, children_of_all_threads, not_spawned, role, run};
use crate::failure::{Failure, Failure::*, Fault, Limits, in_every_way, signal};
use crate::pools::{
    WORKERS, are_unharmed, builder, is_at_full_strength, is_at_full_strength_after, one_may_fail,
    others,
};

/// The variables that tell a preload or an initializer what to do.
const FAILURE: &str = "TRINE_TEST_FAILURE";
const FOLDER: &str = "TRINE_TEST_FOLDER";

/// The longest time of a start that is to take longer. On a machine so busy that another start
/// takes longer too, that start is repeated; three in a row would be an error.
pub const BOUND: Duration = Duration::from_secs(4);

fn fail_once(limits: Limits) {
    let number = std::env::var(FAILURE).unwrap().parse().unwrap();
    let failure = Failure::from_number(number).unwrap();
    let folder = std::env::var_os(FOLDER).unwrap().into();
    Fault { failure, folder }.fail_once(limits);
}

/// Fails in an initializer. The limits of its pool hold there, except for processor time, which is
/// limited for each task.
pub fn initializer() {
    let number: u32 = std::env::var(FAILURE).unwrap().parse().unwrap();
    let own = number == OutOfProcessorTime as u32;
    fail_once(if own { Limits::Own } else { Limits::OfThePool });
}

/// Fails in a template. No limit of its pool holds there: limits are each worker's, or each task's.
pub fn preload() {
    fail_once(Limits::Own);
}

/// Makes a pool whose preload and initializer know the failure.
pub fn pool_for(fault: &Fault) -> PoolBuilder {
    let builder = builder(fault.failure)
        .env(FAILURE, (fault.failure as u32).to_string())
        .env(FOLDER, &fault.folder);
    if fault.failure.takes_time() { builder.start_timeout(BOUND) } else { builder }
}

/// A worker fails between its fork and its first task. No task had begun, so none fails, and
/// another worker is forked.
#[test]
fn while_a_worker_is_forked() {
    in_every_way(|fault, _| {
        let pool = pool_for(&fault).initializer(initializer).build();
        let tasks = others(&pool);
        fault.act();
        if fault.failure == OverwritesItsMemory {
            one_may_fail(&fault, tasks, "fork");
        } else {
            are_unharmed(tasks, &format!("{:?}, fork", fault.failure));
        }
        is_at_full_strength(pool);
        assert!(fault.folder.join("once").exists(), "the initializer was not called");
    });
}

/// A template fails in its preload, and the next one works. A panic would happen again, so it is
/// reported at once.
#[test]
fn while_a_template_is_prepared() {
    in_every_way(|fault, _| {
        let pool = pool_for(&fault).preload(preload).build();
        let tasks = others(&pool);
        fault.act();
        if fault.failure.is_panic() {
            // A task that comes after the others have failed asks for another template, which
            // works.
            for (n, task) in (1..).zip(tasks) {
                match task.join() {
                    Ok(value) => assert_eq!(value, n),
                    Err(error) => {
                        assert!(not_spawned(&error).contains("preload panicked"), "{error}");
                    }
                }
            }
        } else {
            are_unharmed(tasks, &format!("{:?}, preload", fault.failure));
        }
        is_at_full_strength_after(pool);
        assert!(fault.folder.join("once").exists(), "the preload was not called");
    });
}

/// Makes a pool, and finds its template, which has no preload.
fn template_of(pool: impl Fn() -> Pool) -> (Pool, u32) {
    let pool = pool();
    are_unharmed(others(&pool), "before");
    until_or("the workers", || pool.worker_pids().len() == WORKERS);
    let workers = pool.worker_pids();
    let mut children = children_of_all_threads(std::process::id());
    children.retain(|pid| !workers.contains(pid));
    let [template] = children[..] else { panic!("not one template: {children:?}") };
    (pool, template)
}

/// A template has nothing to do when it is stopped or killed. That shows at the request for the
/// next worker.
#[test]
fn while_a_template_rests() {
    if role().is_none() {
        // A process of its own, which has no templates but those of these pools.
        run(again("master"));
        return;
    }
    for failure in [KilledFromOutside, StoppedFromOutside] {
        let folder = TempPath::folder("matrix");
        let fault = Fault::new(failure, &folder);
        for preloads in [false, true] {
            let (pool, template) = template_of(|| {
                let builder = pool_for(&fault).start_timeout(BOUND);
                if preloads { builder.preload(|| ()).build() } else { builder.build() }
            });
            let stop = failure == StoppedFromOutside;
            signal(template, if stop { libc::SIGSTOP } else { libc::SIGKILL });
            for worker in pool.worker_pids() {
                signal(worker, libc::SIGKILL);
                until_or("the end of the worker", || !pool.worker_pids().contains(&worker));
            }
            are_unharmed(others(&pool), &format!("{failure:?}, resting template"));
            is_at_full_strength(pool);
            until_or("the end of the templates", || {
                children_of_all_threads(std::process::id()).is_empty()
            });
        }
    }
}
