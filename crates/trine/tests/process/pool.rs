//! Pools: the distribution of tasks to workers, and the death of workers.

use std::collections::HashSet;
use std::fs;

use trine::{Cause, process, task};

use crate::common::processes::{die, kill, signal_of, stay_for_ever};
use crate::common::reports::{Reports, report};
use crate::common::temporary::TempPath;
use crate::common::waiting::until_or;

/// Reports that the task has begun, and stays.
fn report_and_stay(path: String) {
    let _stream = report(&path);
    stay_for_ever()
}

#[test]
fn a_worker_killed_at_work_costs_its_task_and_no_other() {
    let pool = process::Pool::new(2);
    let reports = Reports::open();
    let victim = pool.spawn(reports.path.clone(), report_and_stay);
    let others: Vec<_> = (0..999_u64).map(|n| pool.spawn(n, |n| n + 1)).collect();
    kill(reports.accept().0, libc::SIGKILL);
    for (n, task) in others.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n as u64 + 1);
    }
    let error = victim.join().unwrap_err();
    assert_eq!(signal_of(&error), libc::SIGKILL);
    assert!(error.to_string().contains("SIGKILL"), "{error}");
    pool.shutdown();
}

#[test]
fn a_worker_killed_while_idle_costs_nothing() {
    let pool = process::Pool::new(2);
    let pid = pool.spawn((), |()| std::process::id()).join().unwrap();
    kill(pid, libc::SIGKILL);
    let tasks: Vec<_> = (0..1000_u64).map(|n| pool.spawn(n, |n| n + 1)).collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n as u64 + 1);
    }
    pool.shutdown();
}

#[test]
fn tasks_that_kill_their_own_workers_fail_each_for_itself() {
    let pool = process::Pool::new(2);
    let tasks: Vec<_> = (0..60_u32)
        .map(|n| {
            pool.spawn(n, |n| {
                if n % 3 == 0 {
                    die();
                }
                n
            })
        })
        .collect();
    for (n, task) in (0..).zip(tasks) {
        match task.join() {
            Ok(value) => assert!(value == n && n % 3 != 0),
            Err(error) => {
                assert_eq!(signal_of(&error), libc::SIGKILL);
                assert_eq!(n % 3, 0);
            }
        }
    }
    pool.shutdown();
}

#[test]
fn a_result_sent_before_the_death_counts() {
    let pool = process::Pool::new(1);
    for _ in 0..20 {
        // The thread kills the worker as soon as it waits for its next task, or a little before.
        let task = pool.spawn("x".repeat(100_000), |text: String| {
            std::thread::spawn(|| std::process::exit(1));
            text.len()
        });
        match task.join() {
            Ok(len) => assert_eq!(len, 100_000),
            Err(error) => assert!(matches!(error.cause(), Cause::Exited { code: 1 }), "{error}"),
        }
    }
    assert_eq!(pool.spawn(1, |n: u8| n).join().unwrap(), 1);
}

#[test]
fn ten_thousand_tasks_wait_in_a_queue() {
    let pool = process::Pool::new(1);
    let reports = Reports::open();
    let stopper = pool.spawn(reports.path.clone(), report_and_stay);
    let pid = reports.accept().0;
    let first_line = line!();
    let tasks: Vec<_> = (0..10_000_u64).map(|n| pool.spawn(n, |n| n + 1)).collect();
    let waiting = task::list().into_iter().filter(|task| {
        task.location.file() == file!()
            && task.location.line() == first_line + 1
            && task.state == trine::State::New
    });
    assert_eq!(waiting.count(), 10_000);
    kill(pid, libc::SIGKILL);
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.join().unwrap(), n + 1);
    }
    assert_eq!(signal_of(&stopper.join().unwrap_err()), libc::SIGKILL);
}

#[test]
fn thousands_of_fresh_processes_stay_within_their_share_of_descriptors() {
    let tasks: Vec<_> =
        (0..2000_u64).map(|n| process::spawn(n, |n| (n, std::process::id()))).collect();
    let mut pids = HashSet::new();
    for (n, task) in (0..).zip(tasks) {
        let (value, pid) = task.join().unwrap();
        assert_eq!(value, n);
        pids.insert(pid);
    }
    // Each had a process of its own; the kernel may reuse a number.
    assert!(pids.len() > 1000, "{}", pids.len());
}

#[test]
fn several_threads_spawn_at_once() {
    let pool = process::Pool::new(2);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..100_u64 {
                    let (a, b) = (thread, n);
                    let kept = pool.spawn((a, b), |(a, b)| a * 1000 + b);
                    let fresh = (n % 20 == 0).then(|| process::spawn((a, b), |(a, b)| a + b));
                    assert_eq!(kept.join().unwrap(), a * 1000 + b);
                    if let Some(fresh) = fresh {
                        assert_eq!(fresh.join().unwrap(), a + b);
                    }
                }
            });
        }
    });
}

#[test]
fn a_stopped_worker_stops_nobody_else() {
    let pool = process::Pool::new(2);
    let reports = Reports::open();
    let stopped = pool.spawn(reports.path.clone(), |path: String| {
        drop(report(&path));
        // SAFETY: no memory involved.
        unsafe { libc::raise(libc::SIGSTOP) };
        7
    });
    let pid = reports.accept().0;
    // More than a socket holds, so that a stopped worker would block.
    let text = "x".repeat(1 << 20);
    let tasks: Vec<_> =
        (0..50).map(|_| pool.spawn(text.clone(), |text: String| text.len())).collect();
    for task in tasks {
        assert_eq!(task.join().unwrap(), 1 << 20);
    }
    assert!(!stopped.is_finished());
    kill(pid, libc::SIGCONT);
    assert_eq!(stopped.join().unwrap(), 7);
}

#[test]
fn an_idle_worker_that_is_stopped_and_killed_gives_its_task_to_another() {
    let pool = process::Pool::new(1);
    let pid = pool.spawn((), |()| std::process::id()).join().unwrap();
    kill(pid, libc::SIGSTOP);
    // The worker gets the task and cannot begin it. The argument does not even fit into its socket.
    let task = pool.spawn("y".repeat(1 << 20), |text: String| (text.len(), std::process::id()));
    kill(pid, libc::SIGKILL);
    let (len, other) = task.join().unwrap();
    assert_eq!(len, 1 << 20);
    assert_ne!(other, pid);
}

#[test]
fn a_dropped_pool_finishes_what_it_was_given() {
    let pool = process::Pool::new(2);
    let tasks: Vec<_> = (0..200_u64).map(|n| pool.spawn(n, |n| n * 3)).collect();
    drop(pool);
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.join().unwrap(), n * 3);
    }
}

#[test]
fn shutting_down_waits_for_tasks_and_workers() {
    let pool = process::Pool::new(2);
    let tasks: Vec<_> = (0..100_u64).map(|n| pool.spawn(n, |n| n)).collect();
    let crash = pool.spawn((), |()| -> () { std::process::abort() });
    let pids = pool.worker_pids();
    pool.shutdown();
    assert!(tasks.iter().all(trine::Task::is_finished) && crash.is_finished());
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is still there");
    }
    // A pool that never had a task ends as well.
    process::Pool::new(3).shutdown();
}

#[test]
#[should_panic(expected = "at least one worker")]
fn a_pool_without_workers_is_refused() {
    let _ = process::Pool::new(0);
}

#[test]
fn a_process_task_can_spawn_process_tasks() {
    let nested = process::spawn(20_u64, |n| {
        let pool = process::Pool::new(2);
        let halves: Vec<_> = (0..n).map(|i| pool.spawn(i, |i| i + 1)).collect();
        let sum: u64 = halves.into_iter().map(|task| task.join().unwrap()).sum();
        sum + process::spawn(1, |n: u64| n).join().unwrap()
    });
    assert_eq!(nested.join().unwrap(), 211);
}

#[test]
fn a_process_task_can_run_coroutines_and_threads() {
    let task = process::spawn(10_u64, |n| {
        let coroutines: Vec<_> = (0..n).map(|i| trine::coroutine::spawn(move || i * 2)).collect();
        let thread = trine::thread::spawn(move || n);
        coroutines.into_iter().map(|task| task.join().unwrap()).sum::<u64>()
            + thread.join().unwrap()
    });
    assert_eq!(task.join().unwrap(), 100);
}

#[test]
fn a_coroutine_waits_for_a_process_without_holding_its_thread() {
    let tasks: Vec<_> = (0..20_u64)
        .map(|n| {
            trine::coroutine::spawn(move || process::pool().spawn(n, |n| n + 1).join().unwrap())
        })
        .collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.join().unwrap(), n + 1);
    }
}

#[test]
fn long_arguments_wait_behind_nobody() {
    let folder = TempPath::folder("long");
    let pool = process::Pool::new(2);
    // Two tasks that need each other: both have to run at once.
    let meet = |(folder, n, _): (std::path::PathBuf, u8, Vec<u8>)| {
        fs::write(folder.join(n.to_string()), []).unwrap();
        let other = folder.join((1 - n).to_string());
        until_or("the other one, which waits behind this one", || other.exists());
    };
    let tasks = [0, 1].map(|n| pool.spawn((folder.owned(), n, vec![n; 20_000]), meet));
    tasks.into_iter().for_each(|task| task.join().unwrap());
}
