//! The time limit of a task, and the resources of its worker.

use std::time::Duration;

use trine::process::Pool;
use trine::{Executor, time};

use super::{LONG, SHORT, pid};
use crate::common::processes::{kill, spin_for_ever};
use crate::common::reports::{Reports, ignore_cancellation};
use crate::common::waiting::until;

#[test]
fn the_limit_ends_waits_and_leaves_the_worker_alive() {
    let pool = Pool::builder().workers(1).timeout(SHORT).grace(LONG).build();
    // On a busy machine even this may take too long, at times.
    let pid = || loop {
        match pool.spawn(0, pid).join() {
            Ok(pid) => return pid,
            Err(error) => assert!(error.is_timeout(), "{error}"),
        }
    };
    let before = pid();
    let task = pool.spawn((), |()| time::sleep(Duration::MAX));
    assert!(task.join().unwrap_err().is_timeout());
    assert_eq!(pid(), before);
    let asks = pool.spawn((), |()| while !trine::cancelled() {});
    assert!(asks.join().is_ok());
    assert_eq!(pid(), before);
}

#[test]
fn the_limit_kills_what_is_deaf_and_counts_for_each_task_by_itself() {
    // Far more than the others take.
    let limit = Duration::from_secs(1);
    let pool = Pool::builder().workers(1).timeout(limit).grace(SHORT).build();
    let deaf = || pool.spawn((), |()| -> () { spin_for_ever() });
    // All wait longer than the limit, except for the first.
    let tasks: Vec<_> = (0..3).map(|_| (deaf(), pool.spawn(7, |n: u8| n))).collect();
    for (deaf, other) in tasks {
        assert!(deaf.join().unwrap_err().is_timeout());
        assert_eq!(other.join().unwrap(), 7);
    }
    let fresh =
        Pool::builder().workers(1).timeout(limit).grace(SHORT).fresh_process_per_task().build();
    let deaf = fresh.spawn((), |()| -> () { spin_for_ever() });
    assert!(deaf.join().unwrap_err().is_timeout());
    let results: Vec<_> = fresh.map(0..3_u8, |n| n).collect();
    assert!(results.iter().zip(0..).all(|(result, n)| *result.as_ref().unwrap() == n));
}

#[test]
fn an_argument_of_a_map_that_takes_too_long_costs_no_other() {
    let pool = Pool::builder().workers(2).timeout(Duration::from_secs(1)).grace(SHORT).build();
    let results: Vec<_> = pool
        .map(0..60_u64, |n| {
            if n == 31 {
                spin_for_ever()
            }
            n
        })
        .chunk(30)
        .collect();
    for (n, result) in (0..).zip(results) {
        match result {
            Ok(value) => assert!(n == value && n != 31),
            Err(error) => assert!(n == 31 && error.is_timeout(), "{n}: {error}"),
        }
    }
}

#[test]
fn a_worker_that_somebody_has_stopped_ends_by_the_limit() {
    let reports = Reports::open();
    let limit = Duration::from_secs(1);
    let pool = Pool::builder().workers(1).timeout(limit).grace(SHORT).build();
    let task = pool.spawn(reports.path.clone(), ignore_cancellation);
    let (worker, _stream) = reports.accept();
    kill(worker, libc::SIGSTOP);
    assert!(task.join().unwrap_err().is_timeout());
    // A worker that is stopped while it is idle costs no task.
    let idle = pool.spawn(0, pid).join().unwrap();
    until(|| pool.stats().idle == 1);
    kill(idle, libc::SIGSTOP);
    assert_ne!(pool.spawn(0, pid).join().unwrap(), idle);
}

#[test]
fn odd_limits_mean_what_they_say() {
    let pool = Pool::builder().workers(1).timeout(Duration::MAX).build();
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
    let pool = Pool::builder().workers(1).timeout(Duration::ZERO).grace(Duration::ZERO).build();
    for _ in 0..3 {
        assert!(pool.spawn((), |()| time::sleep(LONG)).join().unwrap_err().is_timeout());
    }
    let pool = Pool::builder().workers(1).idle_timeout(Duration::ZERO).build();
    for n in 0..3_u8 {
        assert_eq!(pool.spawn(n, |n| n).join().unwrap(), n);
    }
    let pool =
        Pool::builder().workers(1).idle_timeout(Duration::MAX).min_workers(usize::MAX).build();
    until(|| pool.stats().workers == 1);
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
    let pool = Pool::builder().workers(1).queue(usize::MAX).build();
    assert_eq!(pool.try_spawn(1, |n: u8| n).unwrap().join().unwrap(), 1);
}

#[test]
fn the_workers_of_a_pool_have_its_limits() {
    let pool = Pool::builder().workers(1).cpu_limit(SHORT).capture_output().retries(1).build();
    let busy = pool.spawn((), |()| -> () {
        eprintln!("on my way");
        spin_for_ever()
    });
    let error = busy.join().unwrap_err();
    assert!(error.to_string().contains("processor time"), "{error}");
    assert_eq!((error.stderr(), error.attempt()), (b"on my way\n".as_slice(), 2));
    let results: Vec<_> = pool.map(0..50_u64, |n| n).map(Result::unwrap).collect();
    assert!(results.into_iter().eq(0..50));
    let nonsense = Pool::builder().workers(1).open_files(3).queue(0).build();
    for _ in 0..3 {
        let error = nonsense.spawn(1, |n: u8| n).join().unwrap_err();
        assert!(error.is_not_spawned() && error.to_string().contains("open files"), "{error}");
    }
    nonsense.shutdown();
}
