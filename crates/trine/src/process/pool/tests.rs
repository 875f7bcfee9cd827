//! Tests of the settings of workers, from a pool to the errors of its tasks.

use std::time::Duration;

use super::Pool;
use super::policy::{Plan, Policy};
use crate::process::Portable;
use crate::process::worker::setup::Setup;
use crate::sys::limits::cpu_clock;
use crate::task::{Cause, Limit, TaskError};

/// Starts a pool of one worker that is kept.
fn kept(mut setup: Setup) -> Pool {
    setup.prepare().unwrap();
    Pool::start(1, Policy::new(Plan::Kept(1)), &setup)
}

fn run<A, R>(pool: &Pool, arg: A, function: fn(A) -> R) -> Result<R, TaskError>
where
    A: Portable,
    R: Portable,
{
    pool.spawn(arg, function).join()
}

#[test]
fn processor_time_counts_for_each_task_of_a_worker_anew() {
    let most = Duration::from_millis(100);
    let mut setup = Setup::default();
    setup.limits.cpu_time = Some(most);
    let pool = kept(setup);
    let work = |time: Duration| {
        let begin = cpu_clock::own();
        while cpu_clock::own() - begin < time {}
        std::process::id()
    };
    let pid = run(&pool, most / 2, work).unwrap();
    for _ in 0..5 {
        assert_eq!(run(&pool, most / 2, work).unwrap(), pid);
    }
    let error = run(&pool, most * 1000, work).unwrap_err();
    let Cause::Signaled { limit: Some(Limit::CpuTime(limit)), .. } = error.cause() else {
        panic!("{error}")
    };
    assert_eq!(*limit, most);
    // The next worker has the same limit, and an end by another signal is not taken for it.
    assert_ne!(run(&pool, most / 2, work).unwrap(), pid);
    let error = run(&pool, (), |()| -> () { std::process::abort() }).unwrap_err();
    assert!(matches!(error.cause(), Cause::Signaled { limit: None, .. }), "{error}");
}

#[test]
fn what_the_tasks_of_a_worker_print_is_kept_apart() {
    let pool = kept(Setup { captures: true, ..Setup::default() });
    let mut pids = Vec::new();
    for n in 0..200_u32 {
        // Every other task has a value.
        let result = run(&pool, n, |n| {
            println!("task {n}");
            eprintln!("error {n}");
            assert!(n.is_multiple_of(2), "an odd one");
            std::process::id()
        });
        match result {
            Ok(pid) => pids.push(pid),
            Err(error) => {
                assert_eq!(error.stdout(), format!("task {n}\n").as_bytes());
                assert!(error.stderr().starts_with(format!("error {n}\n").as_bytes()));
            }
        }
    }
    pids.dedup();
    assert_eq!(pids.len(), 1);
    // A worker that dies takes nothing of its own along into the next one's.
    for n in 0..10 {
        let error = run(&pool, n, |n: u32| -> () {
            println!("task {n}");
            std::process::abort()
        });
        assert_eq!(error.unwrap_err().stdout(), format!("task {n}\n").as_bytes());
    }
}

#[test]
fn a_set_up_that_is_refused_in_a_pool_is_an_error_of_its_tasks() {
    let mut setup = Setup::default();
    setup.limits.memory = Some(4096);
    let pool = kept(setup);
    let error = run(&pool, (), |()| ()).unwrap_err();
    let Cause::NotSpawned { reason } = error.cause() else { panic!("{error}") };
    assert!(reason.contains("a memory limit of 4 KiB is too low"), "{reason}");
    // Other tasks are not affected.
    assert_eq!(crate::process::spawn(3, |n: u8| n).join().unwrap(), 3);
}
