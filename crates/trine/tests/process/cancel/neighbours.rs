//! Tasks that a cancellation of another must not hit, and signals that are no cancellation.

use std::io::{Read, Write};
use std::process::abort;
use std::time::{Duration, Instant};

use trine::process::Pool;
use trine::{State, Task, time};

use super::{NEVER_KILLED, SHORT, mask_sigterm, pid_of, until_full, wait_for_ever};
use crate::common::processes::{kill, signal_of, spin_for_ever};
use crate::common::reports::{Reports, report, rest};
use crate::common::waiting::until;

#[test]
fn a_late_cancellation_never_hits_the_next_task_of_the_worker() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let pid = pid_of(&pool);
    let mut values = 0;
    for n in 0..400_u64 {
        let quick = pool.spawn(n, |n| n);
        let next = pool.spawn(n, |n| {
            time::sleep(Duration::from_micros(50));
            (n, trine::cancelled())
        });
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_micros(n % 100 * 2) {}
        quick.cancel();
        match quick.join() {
            Ok(value) => {
                assert_eq!(value, n);
                values += 1;
            }
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
        assert_eq!(next.join().unwrap(), (n, false));
    }
    println!("{values} of 400 were quicker than their cancellation");
    assert_eq!(pid_of(&pool), pid);
}

#[test]
fn a_grace_that_is_over_never_costs_the_next_task_of_the_worker() {
    let grace = Duration::from_millis(5);
    let pool = Pool::new(1).grace(grace);
    let mut cancelled = 0;
    for n in 0..200_u64 {
        // It ends by itself, a little before its grace is over or a little after.
        let late = pool.spawn(n % 40, move |n| {
            while !trine::cancelled() {}
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_micros(n * 150) {}
        });
        let next: Vec<_> = (0..5)
            .map(|_| pool.spawn(n, |n| (std::thread::sleep(Duration::from_micros(200)), n).1))
            .collect();
        until(|| late.state() == State::Running);
        late.cancel();
        if let Err(error) = late.join() {
            assert!(error.is_cancelled(), "{error}");
            cancelled += 1;
        }
        for task in next {
            assert_eq!(task.join().unwrap(), n);
        }
    }
    println!("{cancelled} of 200 were slower than their grace");
}

#[test]
fn a_signal_that_is_held_up_until_the_next_task_does_not_end_it() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let reports = Reports::open();
    let first = pool.spawn(reports.path.clone(), |path: String| {
        mask_sigterm(libc::SIG_BLOCK);
        report(&path).read_exact(&mut [0]).unwrap();
        trine::cancelled()
    });
    let (pid, mut stream) = reports.accept();
    let second = pool.spawn((), |()| {
        mask_sigterm(libc::SIG_UNBLOCK);
        (trine::cancelled(), std::process::id())
    });
    first.cancel();
    stream.get_mut().write_all(b"x").unwrap();
    assert!(!first.join().unwrap(), "it has not heard of it");
    assert_eq!(second.join().unwrap(), (false, pid));
}

#[test]
fn sigterm_from_anybody_else_ends_the_worker() {
    let pool = Pool::new(1);
    let reports = Reports::open();
    for queued in [false, true] {
        let task = pool.spawn(reports.path.clone(), wait_for_ever);
        let (pid, stream) = reports.accept();
        if queued {
            let value = libc::sigval { sival_ptr: std::ptr::null_mut() };
            // SAFETY: no memory involved.
            assert_eq!(unsafe { libc::sigqueue(pid.cast_signed(), libc::SIGTERM, value) }, 0);
        } else {
            kill(pid, libc::SIGTERM);
        }
        assert_eq!(signal_of(&task.join().unwrap_err()), libc::SIGTERM);
        assert_eq!(rest(stream), "");
    }
    assert_eq!(pool.spawn(4, |n: u8| n).join().unwrap(), 4);
}

#[test]
fn every_one_of_many_tasks_ends_once_whoever_is_cancelled_when() {
    let pool = Pool::new(3).grace(SHORT);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let tasks: Vec<_> = (0..200_u64)
        .map(|n| {
            let deadline = (next() % 8 == 0).then(|| Duration::from_micros(next() % 20_000));
            let way = next() % 50;
            let spawn = || {
                pool.spawn((n, way), |(n, way)| {
                    match way {
                        0 => spin_for_ever(),
                        1 => abort(),
                        2..10 => {}
                        10..20 => time::sleep(Duration::from_millis(1)),
                        20..30 => std::thread::sleep(Duration::from_millis(1)),
                        _ => {
                            let begin = Instant::now();
                            while !trine::cancelled() && begin.elapsed() < SHORT / 10 {}
                        }
                    }
                    n
                })
            };
            match deadline {
                Some(deadline) => time::timeout(deadline, spawn).unwrap(),
                None => spawn(),
            }
        })
        .collect();
    for _ in 0..150 {
        tasks[(next() % 200) as usize].cancel();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_micros(next() % 500) {}
    }
    // Cancels the tasks that would never end.
    let canceller = trine::thread::spawn({
        let cancellers: Vec<_> = tasks.iter().map(Task::canceller).collect();
        move || {
            std::thread::sleep(SHORT);
            cancellers.iter().for_each(trine::task::Canceller::cancel);
        }
    });
    for (n, task) in (0..).zip(tasks) {
        match task.join() {
            Ok(value) => assert_eq!(value, n),
            Err(error) if error.is_cancelled() || error.is_timeout() => {}
            Err(error) => assert_eq!(signal_of(&error), libc::SIGABRT),
        }
    }
    canceller.join().unwrap();
    until_full(&pool);
    let after: Vec<_> = (0..30_u64).map(|n| pool.spawn(n, |n| n)).collect();
    for (n, task) in (0..).zip(after) {
        assert_eq!(task.join().unwrap(), n);
    }
    pool.shutdown();
}
