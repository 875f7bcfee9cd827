//! Cancellation and deadlines of process tasks.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::abort;
use std::time::{Duration, Instant};

use trine::process::{self, Pool};
use trine::{Cause, State, Task, TaskError, time};

mod common;

use common::desk::{Desk, be_deaf, report, rest};
use common::processes::{children, kill, signal_of, spin_for_ever};
use common::waiting::{until, until_waiting};

/// Longer than any test lasts: whoever ends has done so by itself.
const NEVER_KILLED: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(20);

/// In a worker: says when it is dropped.
struct Farewell(UnixStream);

impl Drop for Farewell {
    fn drop(&mut self) {
        self.0.write_all(b"unwound").unwrap();
    }
}

fn wait_for_ever(path: String) {
    let _farewell = Farewell(report(&path));
    time::sleep(Duration::MAX);
}

fn until_full(pool: &Pool) {
    until(|| pool.worker_pids().len() == pool.workers());
}

fn reason(error: &TaskError) -> Option<&str> {
    match error.cause() {
        Cause::Cancelled { reason, .. } => reason.as_deref(),
        other => panic!("{other:?}"),
    }
}

/// In a worker: blocks SIGTERM for the calling thread, or unblocks it.
fn mask_sigterm(how: i32) {
    // SAFETY: the set is made before its use.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut());
    }
}

fn pid_of(pool: &Pool) -> u32 {
    pool.spawn((), |()| std::process::id()).join().unwrap()
}

#[test]
fn a_wait_unwinds_the_task_and_its_worker_goes_on() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let desk = Desk::open();
    for round in 0..20 {
        let task = pool.spawn(desk.path.clone(), wait_for_ever);
        let (pid, stream) = desk.hear();
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
    let desk = Desk::open();
    let ask = |path: String| {
        let _stream = report(&path);
        while !trine::cancelled() {
            std::thread::sleep(Duration::from_millis(1));
        }
        trine::checkpoint().unwrap_err().is_cancelled()
    };
    let task = pool.spawn(desk.path.clone(), ask);
    let (pid, _stream) = desk.hear();
    task.cancel();
    assert!(task.join().unwrap());
    assert_eq!(pid_of(&pool), pid);
    // The level ends with its task.
    assert!(!pool.spawn((), |()| trine::cancelled()).join().unwrap());
}

#[test]
fn a_system_call_is_interrupted() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let desk = Desk::open();
    let task = pool.spawn(desk.path.clone(), |path: String| {
        let error = report(&path).read(&mut [0]).unwrap_err();
        (error.kind() == std::io::ErrorKind::Interrupted, trine::cancelled())
    });
    let (_, _stream) = desk.hear();
    until_waiting(&task);
    task.cancel();
    assert_eq!(task.join().unwrap(), (true, true));
}

#[test]
fn a_cancellation_that_another_thread_receives_reaches_the_task() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let desk = Desk::open();
    let task = pool.spawn(desk.path.clone(), |path: String| {
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
    let (_, mut stream) = desk.hear();
    task.cancel();
    stream.get_mut().write_all(b"x").unwrap();
    task.join().unwrap();
}

#[test]
fn one_that_ignores_everything_is_killed_and_replaced_and_the_others_are_unharmed() {
    let pool = Pool::new(2).grace(SHORT);
    let desk = Desk::open();
    let ways: [fn(&Pool, String) -> Task<()>; 4] = [
        |pool, path| pool.spawn(path, be_deaf),
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
        let deaf = way(&pool, desk.path.clone());
        let others: Vec<_> = (0..100_u64).map(|n| pool.spawn(n, |n| n + 1)).collect();
        let (pid, stream) = desk.hear();
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
fn a_queued_task_ends_at_once_and_never_runs() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let desk = Desk::open();
    let busy = pool.spawn(desk.path.clone(), wait_for_ever);
    let (pid, stream) = desk.hear();
    let queued: Vec<_> = (0..9_u64).map(|n| pool.spawn(n, |n| n)).collect();
    let mut left = Vec::new();
    for (n, task) in (0..).zip(queued) {
        if n % 2 == 0 {
            assert_eq!(task.state(), State::New);
            task.cancel_because("not needed");
            assert!(task.is_finished());
            assert_eq!(reason(&task.join().unwrap_err()), Some("not needed"));
        } else {
            left.push((n, task));
        }
    }
    assert!(!busy.is_finished());
    busy.cancel();
    assert!(busy.join().unwrap_err().is_cancelled());
    assert_eq!(rest(stream), "unwound");
    for (n, task) in left {
        assert_eq!(task.join().unwrap(), n);
    }
    assert_eq!(pid_of(&pool), pid);
}

#[test]
fn a_hundred_thousand_queued_tasks_are_cancelled_in_any_order() {
    let pool = Pool::new(1);
    let desk = Desk::open();
    let busy = pool.spawn(desk.path.clone(), wait_for_ever);
    let _report = desk.hear();
    let mut tasks: Vec<_> = (0..100_000_u32).map(|n| Some(pool.spawn(n, |n| n))).collect();
    let kept = pool.spawn(7, |n: u32| n);
    // 7,919 is a prime: each index comes once.
    for n in 0..tasks.len() {
        let task = tasks[n * 7_919 % 100_000].take().unwrap();
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
    busy.cancel();
    assert_eq!(kept.join().unwrap(), 7);
}

#[test]
fn a_task_that_its_worker_has_not_begun_is_skipped() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let pid = pid_of(&pool);
    kill(pid, libc::SIGSTOP);
    // A short one is taken back out of the ring, at once. A long one is on its way already.
    let task = pool.spawn((), |()| -> () { panic!("it ran") });
    let long = pool.spawn(vec![1_u8; 100_000], |_| -> () { panic!("it ran") });
    let after = pool.spawn(3, |n: u8| n);
    task.cancel_because("in time");
    assert!(task.is_finished());
    long.cancel_because("in time");
    assert_eq!(reason(&task.join().unwrap_err()), Some("in time"));
    kill(pid, libc::SIGCONT);
    assert_eq!(reason(&long.join().unwrap_err()), Some("in time"));
    assert_eq!((after.join().unwrap(), pid_of(&pool)), (3, pid));
    // One that cannot even do that is killed, and its task does not go to another worker.
    let pool = pool.grace(SHORT);
    kill(pid, libc::SIGSTOP);
    let long = pool.spawn(vec![1_u8; 100_000], |_| -> () { panic!("it ran") });
    long.cancel_because("in time");
    assert_eq!(reason(&long.join().unwrap_err()), Some("in time"));
    assert_ne!(pid_of(&pool), pid);
}

#[test]
fn fresh_processes_that_are_cancelled_leave_nothing() {
    // In a process of its own, whose children are all of this test.
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
    // Two that end their worker by themselves when they hear of it.
    let desk = Desk::open();
    let crash = pool.spawn(desk.path.clone(), |path: String| -> () {
        let _stream = report(&path);
        while !trine::cancelled() {
            std::hint::spin_loop();
        }
        abort()
    });
    let exit = pool.spawn(desk.path.clone(), |path: String| -> () {
        let _stream = report(&path);
        while !trine::cancelled() {
            std::hint::spin_loop();
        }
        std::process::exit(3)
    });
    let _report = desk.hear();
    crash.cancel();
    assert_eq!(signal_of(&crash.join().unwrap_err()), libc::SIGABRT);
    let _report = desk.hear();
    exit.cancel();
    let error = exit.join().unwrap_err();
    assert!(matches!(error.cause(), Cause::Exited { code: 3 }), "{error}");
}

#[test]
fn a_panic_on_the_way_out_is_a_panic() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let desk = Desk::open();
    let task = pool.spawn(desk.path.clone(), |path: String| {
        if std::panic::catch_unwind(|| wait_for_ever(path)).is_err() {
            panic!("swallowed it");
        }
    });
    let (pid, _stream) = desk.hear();
    task.cancel();
    let error = task.join().unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("swallowed it"), "{error}");
    assert_eq!(pid_of(&pool), pid);
}

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
fn a_signal_that_is_held_up_until_the_next_task_does_not_end_it() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let desk = Desk::open();
    let first = pool.spawn(desk.path.clone(), |path: String| {
        mask_sigterm(libc::SIG_BLOCK);
        report(&path).read_exact(&mut [0]).unwrap();
        trine::cancelled()
    });
    let (pid, mut stream) = desk.hear();
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
fn a_pool_that_is_closed_lets_its_tasks_be_cancelled() {
    let desk = Desk::open();
    for shut_down in [true, false] {
        let pool = Pool::new(2).grace(NEVER_KILLED);
        let tasks: Vec<_> = (0..8).map(|_| pool.spawn(desk.path.clone(), wait_for_ever)).collect();
        let _reports = (desk.hear(), desk.hear());
        let cancellers: Vec<_> = tasks.iter().map(Task::canceller).collect();
        if shut_down {
            let cancel = trine::thread::spawn(move || {
                for canceller in cancellers.iter().rev() {
                    canceller.cancel();
                    canceller.cancel();
                }
            });
            pool.shutdown();
            cancel.join().unwrap();
        } else {
            drop(pool);
            cancellers.iter().for_each(trine::task::Canceller::cancel);
        }
        for task in tasks {
            assert!(task.join().unwrap_err().is_cancelled());
        }
    }
}

#[test]
fn sigterm_from_anybody_else_ends_the_worker() {
    let pool = Pool::new(1);
    let desk = Desk::open();
    for queued in [false, true] {
        let task = pool.spawn(desk.path.clone(), wait_for_ever);
        let (pid, stream) = desk.hear();
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
fn a_deadline_travels_to_the_task() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let desk = Desk::open();
    let pid = pid_of(&pool);
    // The joiner's own time is up.
    let joined = time::timeout(SHORT, || pool.spawn((), |()| time::sleep(Duration::MAX)).join());
    assert!(joined.unwrap().unwrap_err().is_timeout());
    // The task's counts from its spawn, also for whoever joins without one. It may be up before
    // the task begins, so each is tried with more and more time.
    let times = || (0..).map(|n| SHORT * (1 << n));
    let unwound = |deadline| {
        let task = time::timeout(deadline, || pool.spawn(desk.path.clone(), wait_for_ever));
        let error = task.unwrap().join().unwrap_err();
        assert!(error.is_timeout() && !error.is_crash(), "{error}");
        assert!(error.to_string().ends_with("timed out"), "{error}");
        desk.heard().is_some_and(|(_, stream)| rest(stream) == "unwound")
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
    // And on, to tasks of the task.
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
    // A deadline that does not come leaves nothing.
    let hour = Duration::from_secs(3600);
    assert_eq!(time::timeout(hour, || pool.spawn(2, |n: u8| n)).unwrap().join().unwrap(), 2);
    assert!(!pool.spawn((), |()| trine::cancelled()).join().unwrap());
}

#[test]
fn a_deadline_passes_in_the_queue_too() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let desk = Desk::open();
    let busy = pool.spawn(desk.path.clone(), wait_for_ever);
    let _report = desk.hear();
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
    let desk = Desk::open();
    let task = time::timeout(SHORT, || pool.spawn(desk.path.clone(), be_deaf)).unwrap();
    let error = task.join().unwrap_err();
    assert!(error.is_timeout() && !error.is_crash(), "{error}");
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
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
    // Those that would never end.
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
