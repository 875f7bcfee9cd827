//! Tasks with a deadline.

use std::time::Duration;

use trine::process::{self, Pool};
use trine::time;

use super::{NEVER_KILLED, SHORT, pid_of, wait_for_ever};
use crate::common::reports::{Reports, ignore_cancellation, rest};

#[test]
fn a_deadline_travels_to_the_task() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let reports = Reports::open();
    let pid = pid_of(&pool);
    // The joiner's own time is up.
    let joined = time::timeout(SHORT, || pool.spawn((), |()| time::sleep(Duration::MAX)).join());
    assert!(joined.unwrap().unwrap_err().is_timeout());
    // The task's time counts from its spawn, also for a joiner without a deadline. It may be up
    // before the task begins, so each test tries longer and longer ones.
    let times = || (0..).map(|n| SHORT * (1 << n));
    let unwound = |deadline| {
        let task = time::timeout(deadline, || pool.spawn(reports.path.clone(), wait_for_ever));
        let error = task.unwrap().join().unwrap_err();
        assert!(error.is_timeout() && !error.is_crash(), "{error}");
        assert!(error.to_string().ends_with("timed out"), "{error}");
        reports.try_accept().is_some_and(|(_, stream)| rest(stream) == "unwound")
    };
    assert!(times().any(unwound));
    let asks = |deadline| {
        let task = time::timeout(deadline, || {
            pool.spawn((), |()| {
                while !trine::cancelled() {
                    std::hint::spin_loop();
                }
                trine::checkpoint().unwrap_err().is_timeout()
            })
        });
        match task.unwrap().join() {
            Ok(timed_out) => timed_out,
            Err(error) => {
                assert!(error.is_timeout(), "{error}");
                false
            }
        }
    };
    assert!(times().any(asks));
    assert_eq!(pid_of(&pool), pid);
    // The deadline travels on to tasks of the task.
    let nested = |deadline| {
        let task = time::timeout(deadline, || {
            process::Builder::new().grace(NEVER_KILLED).spawn((), |()| {
                let inner = process::spawn((), |()| time::sleep(Duration::MAX));
                let id = inner.id();
                let error = trine::shield(NEVER_KILLED, || inner.join()).unwrap_err();
                error.is_timeout() && error.task().unwrap().id == id
            })
        });
        match task.unwrap().join() {
            Ok(timed_out) => timed_out,
            Err(error) => {
                assert!(error.is_timeout(), "{error}");
                false
            }
        }
    };
    assert!(times().any(nested));
    // A deadline in the far future leaves no trace.
    let hour = Duration::from_secs(3600);
    assert_eq!(time::timeout(hour, || pool.spawn(2, |n: u8| n)).unwrap().join().unwrap(), 2);
    assert!(!pool.spawn((), |()| trine::cancelled()).join().unwrap());
}

#[test]
fn a_deadline_passes_in_the_queue_too() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let reports = Reports::open();
    let busy = pool.spawn(reports.path.clone(), wait_for_ever);
    let _report = reports.accept();
    let queued = time::timeout(SHORT, || pool.spawn((), |()| -> () { panic!("it ran") })).unwrap();
    let after = pool.spawn(1, |n: u8| n);
    assert!(queued.join().unwrap_err().is_timeout());
    assert!(!busy.is_finished());
    let late = time::timeout(Duration::ZERO, || pool.spawn((), |()| -> () { panic!("it ran") }));
    assert!(late.unwrap().join().unwrap_err().is_timeout());
    busy.cancel();
    assert_eq!(after.join().unwrap(), 1);
}

#[test]
fn a_task_that_is_deaf_to_its_deadline_is_killed() {
    let pool = Pool::new(1).grace(SHORT);
    let reports = Reports::open();
    let task =
        time::timeout(SHORT, || pool.spawn(reports.path.clone(), ignore_cancellation)).unwrap();
    let error = task.join().unwrap_err();
    assert!(error.is_timeout() && !error.is_crash(), "{error}");
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
}
