//! Tasks that have begun when they are cancelled.

use std::io::{Read, Write};
use std::process::abort;
use std::time::Duration;

use trine::process::{self, Pool};
use trine::{Cause, Task, time};

use super::{NEVER_KILLED, SHORT, mask_sigterm, pid_of, reason, until_full, wait_for_ever};
use crate::common::processes::{children, signal_of, spin_for_ever};
use crate::common::reports::{Reports, ignore_cancellation, report, rest};
use crate::common::waiting::{until, until_waiting};

#[test]
fn a_wait_unwinds_the_task_and_its_worker_goes_on() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let reports = Reports::open();
    for round in 0..20 {
        let task = pool.spawn(reports.path.clone(), wait_for_ever);
        let (pid, stream) = reports.accept();
        if round % 2 == 0 {
            until_waiting(&task);
        }
        task.cancel_because("enough");
        task.cancel_because("too late to be the reason");
        assert_eq!(rest(stream), "unwound");
        let (id, error) = (task.id(), task.join().unwrap_err());
        assert!(error.is_cancelled() && !error.is_crash(), "{error}");
        assert_eq!((reason(&error), error.task().unwrap().id), (Some("enough"), id));
        assert_eq!(pid_of(&pool), pid);
    }
    pool.shutdown();
}

#[test]
fn a_task_that_computes_asks_and_may_end_with_a_value() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let reports = Reports::open();
    let ask = |path: String| {
        let _stream = report(&path);
        while !trine::cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        trine::checkpoint().unwrap_err().is_cancelled()
    };
    let task = pool.spawn(reports.path.clone(), ask);
    let (pid, _stream) = reports.accept();
    task.cancel();
    assert!(task.join().unwrap());
    assert_eq!(pid_of(&pool), pid);
    // The cancellation ends with its task.
    assert!(!pool.spawn((), |()| trine::cancelled()).join().unwrap());
}

#[test]
fn a_system_call_is_interrupted() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let reports = Reports::open();
    let task = pool.spawn(reports.path.clone(), |path: String| {
        let error = report(&path).read(&mut [0]).unwrap_err();
        (error.kind() == std::io::ErrorKind::Interrupted, trine::cancelled())
    });
    let (_, _stream) = reports.accept();
    until_waiting(&task);
    task.cancel();
    assert_eq!(task.join().unwrap(), (true, true));
}

#[test]
fn a_cancellation_that_another_thread_receives_reaches_the_task() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let reports = Reports::open();
    let task = pool.spawn(reports.path.clone(), |path: String| {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || ended.recv());
        mask_sigterm(libc::SIG_BLOCK);
        let mut stream = report(&path);
        stream.read_exact(&mut [0]).unwrap();
        mask_sigterm(libc::SIG_UNBLOCK);
        while !trine::cancelled() {
            std::hint::spin_loop();
        }
        drop(end);
        let _ = other.join();
    });
    let (_, mut stream) = reports.accept();
    task.cancel();
    stream.get_mut().write_all(b"x").unwrap();
    task.join().unwrap();
}

#[test]
fn one_that_ignores_everything_is_killed_and_replaced_and_the_others_are_unharmed() {
    let pool = Pool::new(2).grace(SHORT);
    let reports = Reports::open();
    let ways: [fn(&Pool, String) -> Task<()>; 4] = [
        |pool, path| pool.spawn(path, ignore_cancellation),
        |pool, path| {
            pool.spawn(path, |path: String| {
                // SAFETY: ignoring a signal installs no code.
                unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
                wait_for_ever(path);
            })
        },
        |pool, path| {
            pool.spawn(path, |path: String| {
                // SAFETY: as above.
                unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
                wait_for_ever(path);
            })
        },
        |pool, path| {
            pool.spawn(path, |path: String| {
                trine::shield(Duration::MAX, || wait_for_ever(path));
            })
        },
    ];
    for way in ways {
        let deaf = way(&pool, reports.path.clone());
        let others: Vec<_> = (0..100_u64).map(|n| pool.spawn(n, |n| n + 1)).collect();
        let (pid, stream) = reports.accept();
        deaf.cancel_because("deaf");
        let error = deaf.join().unwrap_err();
        assert_eq!(reason(&error), Some("deaf"));
        assert_eq!(rest(stream), "", "it did not unwind");
        for (n, task) in (0..).zip(others) {
            assert_eq!(task.join().unwrap(), n + 1);
        }
        until_full(&pool);
        assert!(!pool.worker_pids().contains(&pid));
    }
    pool.shutdown();
}

#[test]
fn fresh_processes_that_are_cancelled_leave_nothing() {
    // In a process of its own, whose only children are those of this test.
    let nested = process::spawn((), |()| {
        for round in 0..5_usize {
            let tasks: Vec<_> =
                (0..40).map(|_| process::spawn((), |()| time::sleep(Duration::MAX))).collect();
            for (n, task) in tasks.iter().enumerate() {
                if n % 5 == round {
                    until_waiting(task);
                }
            }
            for task in tasks {
                task.cancel();
                assert!(task.join().unwrap_err().is_cancelled());
            }
            assert_eq!(process::spawn(1, |n: u8| n).join().unwrap(), 1);
            until(|| children() <= 1);
        }
        children()
    });
    assert_eq!(nested.join().unwrap(), 1, "the template");
    let deaf = process::Builder::new().grace(SHORT).spawn((), |()| -> () { spin_for_ever() });
    deaf.cancel();
    assert!(deaf.join().unwrap_err().is_cancelled());
}

#[test]
fn what_happened_before_or_instead_counts() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let task = pool.spawn(7, |n: u8| n);
    until(|| task.is_finished());
    task.cancel();
    assert_eq!(task.join().unwrap(), 7);
    // Two tasks that end their worker when they notice it.
    let reports = Reports::open();
    let crash = pool.spawn(reports.path.clone(), |path: String| -> () {
        let _stream = report(&path);
        while !trine::cancelled() {
            std::hint::spin_loop();
        }
        abort()
    });
    let exit = pool.spawn(reports.path.clone(), |path: String| -> () {
        let _stream = report(&path);
        while !trine::cancelled() {
            std::hint::spin_loop();
        }
        std::process::exit(3)
    });
    let _report = reports.accept();
    crash.cancel();
    assert_eq!(signal_of(&crash.join().unwrap_err()), libc::SIGABRT);
    let _report = reports.accept();
    exit.cancel();
    let error = exit.join().unwrap_err();
    assert!(matches!(error.cause(), Cause::Exited { code: 3 }), "{error}");
}

#[test]
fn a_panic_on_the_way_out_is_a_panic() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let reports = Reports::open();
    let task = pool.spawn(reports.path.clone(), |path: String| {
        if std::panic::catch_unwind(|| wait_for_ever(path)).is_err() {
            panic!("swallowed it");
        }
    });
    let (pid, _stream) = reports.accept();
    task.cancel();
    let error = task.join().unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("swallowed it"), "{error}");
    assert_eq!(pid_of(&pool), pid);
}
