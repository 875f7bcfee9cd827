//! Pools that are stopped or dropped, whatever their processes do.

use std::fs;
use std::time::{Duration, Instant};

use trine::process::Pool;
use trine::time;

use super::{LONG, SHORT, stopped};
use crate::common::processes::{kill, stay_for_ever};
use crate::common::reports::{Reports, ignore_cancellation, report};
use crate::common::temporary::TempPath;
use crate::common::waiting::until;

#[test]
fn a_pool_can_be_stopped_whatever_its_tasks_do() {
    let reports = Reports::open();
    let pool = Pool::builder().workers(3).grace(LONG).build();
    let deaf = pool.spawn(reports.path.clone(), ignore_cancellation);
    let _deaf = reports.accept();
    let frozen = pool.spawn(reports.path.clone(), ignore_cancellation);
    let (frozen_pid, _frozen) = reports.accept();
    let polite = pool.spawn(reports.path.clone(), |path| {
        let _stream = report(&path);
        time::sleep(Duration::MAX);
    });
    let _polite = reports.accept();
    kill(frozen_pid, libc::SIGSTOP);
    // One of them was cancelled before, with too long a grace.
    deaf.cancel_because("it was before");
    let queued: Vec<_> = (0..1_000_u64).map(|n| pool.spawn(n, |n| n)).collect();
    pool.stop(SHORT);
    let error = deaf.join().unwrap_err();
    assert!(error.is_cancelled() && error.to_string().contains("it was before"), "{error}");
    stopped(&frozen.join().unwrap_err());
    stopped(&polite.join().unwrap_err());
    for task in queued {
        assert!(task.is_finished());
        stopped(&task.join().unwrap_err());
    }
}

#[test]
fn a_pool_whose_template_or_idle_workers_are_stopped_ends() {
    let marks = TempPath::folder("marks");
    let note = marks.owned().join("template");
    let pool = Pool::builder()
        .workers(2)
        .env("TRINE_TEST_NOTE", &note)
        .preload(|| {
            let path = std::env::var_os("TRINE_TEST_NOTE").unwrap();
            fs::write(path, std::process::id().to_string()).unwrap();
        })
        .build();
    until(|| pool.stats().idle == 2);
    let template: u32 = fs::read_to_string(&note).unwrap().parse().unwrap();
    kill(template, libc::SIGSTOP);
    let pids = pool.worker_pids();
    kill(pids[0], libc::SIGSTOP);
    // Its successor is requested, and does not come.
    kill(pids[1], libc::SIGKILL);
    until(|| pool.stats().workers_lost == 1);
    let waits = pool.spawn(1, |n: u8| n);
    pool.stop(SHORT);
    stopped(&waits.join().unwrap_err());
}

#[test]
fn a_pool_whose_workers_do_not_become_ready_can_be_stopped() {
    let hangs = Pool::builder().workers(2).initializer(|| stay_for_ever()).build();
    let task = hangs.spawn(1, |n: u8| n);
    until(|| hangs.stats().workers == 2);
    hangs.stop(SHORT);
    stopped(&task.join().unwrap_err());
    let hangs = Pool::builder().workers(1).preload(|| stay_for_ever()).build();
    let task = hangs.spawn(1, |n: u8| n);
    hangs.stop(SHORT);
    stopped(&task.join().unwrap_err());
}

#[test]
fn dropping_a_pool_with_hung_tasks_waits_for_nobody() {
    let reports = Reports::open();
    let pool = Pool::builder().workers(1).grace(SHORT).queue(5).timeout(LONG).build();
    let deaf = pool.spawn(reports.path.clone(), ignore_cancellation);
    let queued = pool.spawn(1, |n: u8| n);
    let (worker, _stream) = reports.accept();
    kill(worker, libc::SIGSTOP);
    drop(pool);
    assert!(!deaf.is_finished());
    deaf.cancel();
    assert!(deaf.join().unwrap_err().is_cancelled());
    assert_eq!(queued.join().unwrap(), 1);
}

#[test]
fn stop_of_a_pool_without_tasks_is_quick_and_of_one_with_values_takes_them() {
    let pool = Pool::new(2);
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
    let begin = Instant::now();
    pool.stop(LONG);
    assert!(begin.elapsed() < LONG);
    let pool = Pool::new(2);
    let tasks: Vec<_> = (0..100_u64).map(|n| pool.spawn(n, |n| n)).collect();
    pool.stop(LONG);
    for (n, task) in (0..).zip(tasks) {
        match task.join() {
            Ok(value) => assert_eq!(value, n),
            Err(error) => stopped(&error),
        }
    }
}
