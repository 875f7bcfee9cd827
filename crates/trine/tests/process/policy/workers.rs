//! The life of workers, and the cost of a worker's death.

use std::collections::HashMap;

use trine::Executor;
use trine::process::Pool;

use super::{LONG, SHORT, pid};
use crate::common::processes::{die, kill, signal_of};
use crate::common::reports::{Reports, ignore_cancellation, wait_for_release};
use crate::common::waiting::until;

#[test]
#[should_panic(expected = "a worker has to be allowed one task at least")]
fn a_worker_without_tasks_is_refused() {
    let _ = Pool::builder().tasks_per_worker(0);
}

#[test]
fn a_worker_is_replaced_after_its_share() {
    let pool = Pool::builder().workers(2).tasks_per_worker(3).build();
    let tasks: Vec<_> = (0..60).map(|n| pool.spawn(n, pid)).collect();
    let mut by_pid = HashMap::new();
    for task in tasks {
        *by_pid.entry(task.join().unwrap()).or_insert(0) += 1;
    }
    assert!(by_pid.values().all(|tasks| *tasks <= 3), "{by_pid:?}");
    assert!(by_pid.len() >= 20);
    // The pool is complete again at once, and none of the workers counts as lost.
    until(|| pool.stats().workers == 2);
    assert_eq!(pool.stats().workers_lost, 0);
    let whole: Vec<_> = pool.map(0..500_u64, |n| n).map(Result::unwrap).collect();
    assert!(whole.into_iter().eq(0..500));
    pool.shutdown();
}

#[test]
fn workers_that_rest_end_and_come_back() {
    let sockets = [Reports::open(), Reports::open(), Reports::open()];
    let pool = Pool::builder().workers(3).idle_timeout(SHORT).min_workers(1).build();
    for _ in 0..3 {
        let tasks: Vec<_> = sockets
            .iter()
            .map(|reports| pool.spawn(reports.path.clone(), wait_for_release))
            .collect();
        // All three run at once.
        let streams: Vec<_> = sockets.iter().map(Reports::accept).collect();
        assert_eq!(pool.stats().running, 3);
        drop(streams);
        assert!(tasks.into_iter().all(|task| task.join().is_ok()));
        until(|| pool.worker_pids().len() == 1);
    }
    let stays = pool.worker_pids();
    assert_eq!(pool.spawn(0, pid).join().unwrap(), stays[0]);
    assert_eq!(pool.stats().workers_lost, 0);
    pool.shutdown();
}

#[test]
fn one_killed_with_a_thousand_queued_costs_one() {
    let reports = Reports::open();
    let pool = Pool::builder().workers(2).timeout(LONG).tasks_per_worker(400).build();
    let victim = pool.spawn(reports.path.clone(), ignore_cancellation);
    let (worker, _stream) = reports.accept();
    let tasks: Vec<_> = (0..999_u64).map(|n| pool.spawn(n, |n| n + 1)).collect();
    kill(worker, libc::SIGKILL);
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.join().unwrap(), n + 1);
    }
    assert_eq!(signal_of(&victim.join().unwrap_err()), libc::SIGKILL);
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.failed, stats.workers_lost), (999, 1, 1));
}

#[test]
fn a_cancellation_costs_the_worker_of_that_task_only() {
    let (one, other) = (Reports::open(), Reports::open());
    let pool = Pool::builder().workers(2).grace(SHORT).build();
    let deaf = pool.spawn(one.path.clone(), ignore_cancellation);
    let (gone, _stream) = one.accept();
    let task = pool.spawn(other.path.clone(), wait_for_release);
    let (stays, stream) = other.accept();
    deaf.cancel();
    assert!(deaf.join().unwrap_err().is_cancelled());
    drop(stream);
    assert_eq!(task.join().unwrap(), stays);
    until(|| pool.stats().workers == 2);
    let pids = pool.worker_pids();
    assert!(pids.contains(&stays) && !pids.contains(&gone));
    assert_eq!(pool.stats().workers_lost, 1);
}

#[test]
fn a_pool_works_inside_a_worker_of_another() {
    fn inner(n: u64) -> (u64, bool) {
        let pool = Pool::builder().workers(2).retries(1).queue(4).build();
        trine::progress(0.5);
        let sum = pool.map(0..n, |n| n * n).map(Result::unwrap).sum();
        let crash = pool.spawn((), |()| die()).join().unwrap_err();
        pool.shutdown();
        (sum, crash.attempt() == 2)
    }
    let pool = Pool::builder().workers(2).tasks_per_worker(2).build();
    let tasks: Vec<_> = (0..4).map(|_| pool.spawn(100, inner)).collect();
    for task in tasks {
        assert_eq!(task.join().unwrap(), (328_350, true));
    }
    pool.shutdown();
}
