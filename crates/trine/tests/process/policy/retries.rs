//! Tasks that crash are run again.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use trine::process::Pool;
use trine::{Executor, time};

use super::{LONG, SHORT, stopped};
use crate::common::processes::{die, signal_of, spin_for_ever};
use crate::common::temporary::TempPath;
use crate::common::waiting::until;

/// Ends its process in its first `crashes` calls for `n`.
fn crash_at_first((marks, n, crashes): (PathBuf, u64, u32)) -> u64 {
    for time in 0..crashes {
        if File::create_new(marks.join(format!("{n}-{time}"))).is_ok() {
            match n % 3 {
                0 => die(),
                1 => std::process::exit(7),
                _ => std::process::abort(),
            }
        }
    }
    n + 1
}

/// Returns the number of crashes: one task in a hundred crashes, and some of those twice.
fn crashes(n: u64) -> u32 {
    u32::from(n % 100 == 7) + u32::from(n % 1000 == 7)
}

#[test]
fn ten_thousand_tasks_of_which_one_in_a_hundred_crashes_are_all_done() {
    let marks = TempPath::folder("marks");
    let pool = Pool::builder().workers(2).retries(2).backoff(Duration::from_millis(1)).build();
    let tasks: Vec<_> =
        (0..10_000).map(|n| pool.spawn((marks.owned(), n, crashes(n)), crash_at_first)).collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.join().unwrap(), n + 1);
    }
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.failed, stats.retried), (10_000, 0, 110));
    assert_eq!(stats.workers_lost, 110);
    pool.shutdown();
}

#[test]
fn each_argument_of_a_map_is_retried_by_itself() {
    let marks = TempPath::folder("marks");
    let pool = Pool::builder().workers(2).retries(2).backoff(Duration::ZERO).build();
    let args = (0..2_000).map(|n| (marks.owned(), n, if n == 777 { 99 } else { crashes(n) }));
    let results: Vec<_> = pool.map(args, crash_at_first).chunk(100).collect();
    for (n, result) in (0..).zip(results) {
        match result {
            Ok(value) => assert!(n != 777 && value == n + 1),
            Err(error) => {
                assert!(n == 777 && error.is_crash(), "{n}: {error}");
                assert_eq!(error.attempt(), 3);
            }
        }
    }
    let stats = pool.stats();
    assert_eq!((stats.completed, stats.failed, stats.crashed), (1_999, 1, 1));
    assert_eq!(stats.retried, 22 + 2);
}

#[test]
fn a_task_that_always_crashes_fails_in_its_last_attempt() {
    let pool = Pool::builder().workers(1).retries(2).backoff(Duration::ZERO).build();
    let error = pool.spawn((), |()| die()).join().unwrap_err();
    assert_eq!((signal_of(&error), error.attempt()), (libc::SIGKILL, 3));
    assert!(error.to_string().ends_with("; attempt 3 of 3"), "{error}");
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
    let fresh = Pool::builder().workers(2).retries(1).fresh_process_per_task().build();
    let error = fresh.spawn((), |()| die()).join().unwrap_err();
    assert_eq!((signal_of(&error), error.attempt()), (libc::SIGKILL, 2));
    let unlucky = fresh.spawn((), |()| -> () { panic!("once is enough") });
    let error = unlucky.join().unwrap_err();
    assert_eq!(error.attempt(), 1);
    assert!(!error.to_string().contains("attempt"), "{error}");
    let marks = TempPath::folder("marks");
    assert_eq!(fresh.spawn((marks.owned(), 4, 1), crash_at_first).join().unwrap(), 5);
}

#[test]
fn only_crashes_are_retried() {
    let retrying = || Pool::builder().workers(1).retries(u32::MAX).grace(SHORT);
    let counts = |pool: &Pool| {
        let stats = pool.stats();
        (stats.retried, stats.panicked, stats.timed_out, stats.failed)
    };
    // Without a limit: a panic that looks up its backtrace takes longer than the one below.
    let pool = retrying().build();
    assert!(pool.spawn((), |()| -> () { panic!("no") }).join().unwrap_err().is_panic());
    assert_eq!(counts(&pool), (0, 1, 0, 1));
    let pool = retrying().timeout(SHORT).build();
    let deaf = pool.spawn((), |()| -> () { spin_for_ever() });
    assert!(deaf.join().unwrap_err().is_timeout());
    assert_eq!(counts(&pool), (0, 0, 1, 1));
}

#[test]
fn a_task_that_waits_to_be_run_again_can_be_cancelled_and_has_its_deadline() {
    let pool = Pool::builder().workers(1).retries(5).backoff(Duration::MAX).build();
    let cancelled = pool.spawn((), |()| die());
    until(|| pool.stats().retried == 1);
    assert_eq!(pool.stats().queued, 1);
    cancelled.cancel_because("too late");
    let error = cancelled.join().unwrap_err();
    assert!(error.is_cancelled() && error.to_string().contains("too late"), "{error}");
    // Its time may be up before it has died, so each attempt has more.
    let is_late = |deadline| {
        let before = pool.stats().retried;
        let late = time::timeout(deadline, || pool.spawn((), |()| die())).unwrap();
        late.join().unwrap_err().is_timeout() && pool.stats().retried > before
    };
    assert!((0..).map(|n| SHORT * (1 << n)).any(is_late));
    let before = pool.stats().retried;
    let left = pool.spawn((), |()| die());
    until(|| pool.stats().retried > before);
    pool.stop(LONG);
    stopped(&left.join().unwrap_err());
}

#[test]
fn a_closed_pool_waits_for_what_is_to_be_run_again() {
    let marks = TempPath::folder("marks");
    let pool = Pool::builder().workers(2).retries(2).backoff(SHORT).build();
    let tasks: Vec<_> =
        (0..20).map(|n| pool.spawn((marks.owned(), n, 1), crash_at_first)).collect();
    pool.shutdown();
    for (n, task) in (0..).zip(tasks) {
        assert!(task.is_finished());
        assert_eq!(task.join().unwrap(), n + 1);
    }
}
