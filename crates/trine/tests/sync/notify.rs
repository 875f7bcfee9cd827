//! `Notify`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use trine::sync::Notify;

use super::common::places::everywhere;
use super::{KINDS, LONG, SHORT, kind_of, spawn, until_it_waits};

#[test]
fn one_permit_is_stored_and_no_more() {
    everywhere(|| {
        let notify = Notify::new();
        assert!(!notify.notify_one());
        assert!(!notify.notify_one());
        notify.notify_waiters();
        assert_eq!(format!("{notify:?}"), "Notify { permit: true, .. }");
        notify.wait();
        assert!(!notify.wait_timeout(SHORT));
        // A condition that is false at once uses no permit up.
        notify.notify_one();
        notify.wait_while(|| false);
        assert!(notify.wait_timeout(Duration::ZERO));
        // Nor does one that panics.
        notify.notify_one();
        catch_unwind(AssertUnwindSafe(|| notify.wait_while(|| panic!("no")))).unwrap_err();
        assert!(notify.wait_timeout(Duration::ZERO));
    });
}

#[test]
fn one_is_woken_in_order_of_arrival_and_all_at_once() {
    for kind in KINDS {
        let notify = Arc::new(Notify::new());
        let mut tasks: Vec<_> = (0..40)
            .map(|_| {
                let own = Arc::clone(&notify);
                let task = spawn(kind, move || own.wait_timeout(LONG));
                until_it_waits(&task);
                task
            })
            .collect();
        assert!(notify.notify_one());
        assert!(tasks.remove(0).join().unwrap());
        until_it_waits(&tasks[0]);
        notify.notify_waiters();
        for task in tasks {
            assert!(task.join().unwrap());
        }
        assert!(!notify.notify_one());
    }
}

#[test]
fn no_notification_of_all_is_missed_after_the_condition_was_looked_at() {
    for round in 0..200 {
        let shared = Arc::new((Notify::new(), AtomicBool::new(false)));
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let shared = Arc::clone(&shared);
                spawn(kind_of(n + round), move || {
                    shared.0.wait_while(|| !shared.1.load(SeqCst));
                })
            })
            .collect();
        shared.1.store(true, SeqCst);
        shared.0.notify_waiters();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    }
}

#[test]
fn a_notification_is_passed_on_by_a_waiter_that_is_cancelled() {
    for kind in KINDS {
        for _ in 0..100 {
            let notify = Arc::new(Notify::new());
            let taken = Arc::new(AtomicUsize::new(0));
            let tasks: Vec<_> = (0..2)
                .map(|_| {
                    let (notify, taken) = (Arc::clone(&notify), Arc::clone(&taken));
                    let task = spawn(kind, move || {
                        notify.wait();
                        taken.fetch_add(1, SeqCst);
                    });
                    until_it_waits(&task);
                    task
                })
                .collect();
            let own = Arc::clone(&notify);
            let notifying = std::thread::spawn(move || own.notify_one());
            tasks[0].cancel();
            assert!(notifying.join().unwrap());
            let [first, second] = tasks.try_into().ok().unwrap();
            let was_taken = first.join().is_ok();
            // The first kept it, or the second got it.
            if was_taken {
                notify.notify_one();
            }
            second.join().unwrap();
            assert_eq!(taken.load(SeqCst), 1 + usize::from(was_taken));
        }
    }
}

#[test]
fn a_waiter_that_is_cancelled_beside_a_notification_of_all_leaves_no_permit() {
    for kind in KINDS {
        for _ in 0..100 {
            let notify = Arc::new(Notify::new());
            let own = Arc::clone(&notify);
            let task = spawn(kind, move || own.wait());
            until_it_waits(&task);
            let own = Arc::clone(&notify);
            let notifying = std::thread::spawn(move || own.notify_waiters());
            task.cancel();
            notifying.join().unwrap();
            let _ = task.join();
            assert!(!notify.wait_timeout(Duration::ZERO));
        }
    }
}
