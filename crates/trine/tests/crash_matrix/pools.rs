//! The pools in which a failure happens, the tasks beside the failing one, and the checks
//! afterwards.

use std::time::Duration;

use trine::Task;
use trine::process::{Pool, PoolBuilder};

use crate::common::waiting::until_or;
use crate::failure::{Failure, Fault, MEMORY, PROCESSOR_TIME};

pub const WORKERS: usize = 2;

/// Makes the builder of a pool for a failure. It limits the resource that the failure uses up. A
/// worker that ignores its cancellation is killed soon.
pub fn builder(failure: Failure) -> PoolBuilder {
    let builder = Pool::builder().workers(WORKERS).grace(Duration::from_millis(10));
    match failure {
        Failure::OutOfMemory => builder.memory_limit(MEMORY),
        Failure::OutOfProcessorTime => builder.cpu_limit(PROCESSOR_TIME),
        _ => builder,
    }
}

/// Spawns tasks beside the one that fails.
pub fn others(pool: &Pool) -> Vec<Task<u64>> {
    (0..20).map(|n| pool.spawn(n, |n: u64| n + 1)).collect()
}

pub fn are_unharmed(others: Vec<Task<u64>>, what: &str) {
    for (n, task) in (1..).zip(others) {
        let end = task.join();
        assert!(end.as_ref().is_ok_and(|value| *value == n), "{what}: another task: {end:?}");
    }
}

/// The worker lives on, and may die in its next task.
pub fn one_may_fail(fault: &Fault, tasks: Vec<Task<u64>>, place: &str) {
    let ends: Vec<_> = tasks.into_iter().map(Task::join).collect();
    let failed: Vec<_> = ends.iter().filter(|end| end.is_err()).collect();
    assert!(failed.len() <= 1, "{:?}, {place}: {ends:?}", fault.failure);
    failed.into_iter().for_each(|end| fault.check_end(end, place));
}

/// The worker is gone, and with it maybe those of the tasks that it was given ahead.
pub fn those_ahead_may_fail(fault: &Fault, tasks: Vec<Task<u64>>, place: &str) {
    for (n, task) in (1..).zip(tasks) {
        match task.join() {
            Ok(value) => assert_eq!(value, n, "{:?}, {place}", fault.failure),
            end => fault.check_end(&end, place),
        }
    }
}

pub fn is_at_full_strength(pool: Pool) {
    until_or("as many workers as before", || pool.worker_pids().len() == WORKERS);
    are_unharmed(others(&pool), "afterwards");
    pool.shutdown();
}

/// Checks a pool that was refused its workers. It asks for them with its next task, and the refusal
/// may arrive after the first tasks.
pub fn is_at_full_strength_after(pool: Pool) {
    until_or("tasks that bring the workers back", || {
        are_unharmed(others(&pool), "afterwards");
        pool.worker_pids().len() == WORKERS
    });
    is_at_full_strength(pool);
}
