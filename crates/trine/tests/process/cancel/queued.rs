//! Tasks that no worker has begun when they are cancelled.

use trine::process::Pool;
use trine::{State, Task};

use super::{NEVER_KILLED, SHORT, pid_of, reason, wait_for_ever};
use crate::common::processes::kill;
use crate::common::reports::{Reports, rest};

#[test]
fn a_queued_task_ends_at_once_and_never_runs() {
    let pool = Pool::new(1).grace(NEVER_KILLED);
    let reports = Reports::open();
    let busy = pool.spawn(reports.path.clone(), wait_for_ever);
    let (pid, stream) = reports.accept();
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
    let reports = Reports::open();
    let busy = pool.spawn(reports.path.clone(), wait_for_ever);
    let _report = reports.accept();
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
    // A short task is taken back out of the ring, at once. A long task is on its way already.
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
    // A worker that cannot even skip it is killed, and its task does not go to another worker.
    let pool = pool.grace(SHORT);
    kill(pid, libc::SIGSTOP);
    let long = pool.spawn(vec![1_u8; 100_000], |_| -> () { panic!("it ran") });
    long.cancel_because("in time");
    assert_eq!(reason(&long.join().unwrap_err()), Some("in time"));
    assert_ne!(pid_of(&pool), pid);
}

#[test]
fn a_pool_that_is_closed_lets_its_tasks_be_cancelled() {
    let reports = Reports::open();
    for shut_down in [true, false] {
        let pool = Pool::new(2).grace(NEVER_KILLED);
        let tasks: Vec<_> =
            (0..8).map(|_| pool.spawn(reports.path.clone(), wait_for_ever)).collect();
        let _reports = (reports.accept(), reports.accept());
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
