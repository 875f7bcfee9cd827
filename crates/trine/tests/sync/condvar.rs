//! `Condvar`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use trine::coroutine;
use trine::sync::{Condvar, Event, Mutex};

use super::{KINDS, LONG, SHORT, kind_of, spawn, until};

/// A bounded queue made of a mutex and two conditions.
#[derive(Default)]
struct Belt {
    items: Mutex<VecDeque<u64>>,
    added: Condvar,
    removed: Condvar,
}

impl Belt {
    fn put(&self, item: u64) {
        let mut items = self.removed.wait_while(self.items.lock(), |items| items.len() >= 3);
        items.push_back(item);
        drop(items);
        self.added.notify_one();
    }

    fn take(&self) -> u64 {
        let mut items = self.items.lock();
        loop {
            if let Some(item) = items.pop_front() {
                drop(items);
                self.removed.notify_one();
                return item;
            }
            items = self.added.wait(items);
        }
    }
}

#[test]
fn producers_and_consumers_lose_nothing() {
    const EACH: u64 = 2_000;
    let belt = Arc::new(Belt::default());
    let producers: Vec<_> = (0..4)
        .map(|n| {
            let belt = Arc::clone(&belt);
            spawn(kind_of(n), move || (1..=EACH).for_each(|item| belt.put(item)))
        })
        .collect();
    let consumers: Vec<_> = (0..4)
        .map(|n| {
            let belt = Arc::clone(&belt);
            spawn(kind_of(n / 2), move || (0..EACH).map(|_| belt.take()).sum::<u64>())
        })
        .collect();
    for producer in producers {
        producer.join().unwrap();
    }
    let sum: u64 = consumers.into_iter().map(|consumer| consumer.join().unwrap()).sum();
    assert_eq!(sum, 4 * EACH * (EACH + 1) / 2);
}

#[test]
fn one_notification_wakes_one_and_all_wakes_all() {
    for kind in KINDS {
        // The tasks that wait, and those that were woken.
        let shared = Arc::new((Mutex::new((0, 0)), Condvar::new()));
        let tasks: Vec<_> = (0..40)
            .map(|_| {
                let shared = Arc::clone(&shared);
                spawn(kind, move || {
                    let (mutex, condvar) = &*shared;
                    let mut counts = mutex.lock();
                    counts.0 += 1;
                    condvar.wait(counts).1 += 1;
                })
            })
            .collect();
        let (mutex, condvar) = &*shared;
        until(|| mutex.lock().0 == 40);
        for woken in 1..=5 {
            assert!(condvar.notify_one());
            until(|| mutex.lock().1 == woken);
        }
        assert_eq!(condvar.notify_all(), 35);
        for task in tasks {
            task.join().unwrap();
        }
        assert_eq!(mutex.lock().1, 40);
        assert_eq!((condvar.notify_one(), condvar.notify_all()), (false, 0));
    }
}

#[test]
fn a_wait_that_times_out_has_the_lock_again_and_leaves_no_trace() {
    for kind in KINDS {
        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let timed_out = Arc::new(Event::new());
        let (own, reached) = (Arc::clone(&shared), Arc::clone(&timed_out));
        let task = spawn(kind, move || {
            let (mutex, condvar) = &*own;
            let (guard, result) = condvar.wait_timeout(mutex.lock(), SHORT);
            assert!(result.timed_out() && !*guard && mutex.try_lock().is_none());
            let (guard, result) = condvar.wait_timeout_while(guard, SHORT, |ready| !*ready);
            assert!(result.timed_out());
            reached.set();
            let (guard, result) = condvar.wait_timeout_while(guard, LONG, |ready| !*ready);
            assert!(!result.timed_out());
            let guard = condvar.wait_timeout_while(guard, Duration::ZERO, |ready| !*ready).0;
            *guard
        });
        let (mutex, condvar) = &*shared;
        timed_out.wait();
        *mutex.lock() = true;
        condvar.notify_one();
        assert!(task.join().unwrap());
        // No waiter is left that could swallow a notification.
        let own = Arc::clone(&shared);
        *mutex.lock() = false;
        let waiting = spawn(kind, move || *own.1.wait_while(own.0.lock(), |ready| !*ready));
        *mutex.lock() = true;
        condvar.notify_one();
        assert!(waiting.join().unwrap());
    }
}

#[test]
fn notifications_and_waits_that_time_out_meet_at_all_moments() {
    let shared = Arc::new((Mutex::new(0_u64), Condvar::new()));
    let tasks: Vec<_> = (0..6)
        .map(|n| {
            let shared = Arc::clone(&shared);
            spawn(kind_of(n), move || {
                let (mutex, condvar) = &*shared;
                let mut taken = 0;
                while taken < 200 {
                    let patience = Duration::from_micros(taken % 30);
                    let (mut guard, result) =
                        condvar.wait_timeout_while(mutex.lock(), patience, |n| *n == 0);
                    if !result.timed_out() {
                        *guard -= 1;
                        taken += 1;
                    }
                }
            })
        })
        .collect();
    for _ in 0..6 * 200 {
        *shared.0.lock() += 1;
        shared.1.notify_one();
        coroutine::yield_now();
    }
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!(*shared.0.lock(), 0);
}
