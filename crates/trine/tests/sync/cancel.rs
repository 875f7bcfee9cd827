//! Cancelled waits: they unwind, leave no trace, and lose nothing that was meant for others.

use std::sync::Arc;

use trine::coroutine;
use trine::sync::{Barrier, Condvar, Event, Mutex, RwLock, Semaphore};

use super::{KINDS, kind_of, spawn, until, until_it_waits};

#[test]
fn a_cancelled_wait_unwinds_and_the_others_go_on() {
    let mutex = Arc::new(Mutex::new(0));
    let guard = mutex.lock();
    let waiting = |_| {
        let mutex = Arc::clone(&mutex);
        let task = coroutine::spawn(move || *mutex.lock() += 1);
        until_it_waits(&task);
        task
    };
    let tasks: Vec<_> = (0..10).map(waiting).collect();
    tasks.iter().step_by(2).for_each(|task| task.cancel());
    let mut tasks = tasks.into_iter().enumerate();
    assert!(tasks.next().unwrap().1.join().unwrap_err().is_cancelled());
    drop(guard);
    for (n, task) in tasks {
        assert_eq!(task.join().is_err(), n % 2 == 0);
    }
    assert_eq!(*mutex.lock(), 5);
}

#[test]
fn cancellations_and_turns_meet_at_all_moments() {
    for round in 0..200 {
        let semaphore = Arc::new(Semaphore::new(0));
        let lock = Arc::new(RwLock::new(()));
        let reading = lock.read();
        let tasks: Vec<_> = (0..6)
            .map(|n| {
                let (semaphore, lock) = (Arc::clone(&semaphore), Arc::clone(&lock));
                spawn(kind_of(n + round), move || {
                    drop(semaphore.acquire_many(1 + n % 2));
                    drop(lock.write());
                })
            })
            .collect();
        semaphore.add_permits(2);
        tasks[round % 6].cancel();
        drop(reading);
        tasks[(round + 1) % 6].cancel();
        for (n, task) in tasks.into_iter().enumerate() {
            let result = task.join();
            let was_cancelled = n == round % 6 || n == (round + 1) % 6;
            assert!(result.is_ok() || was_cancelled, "{result:?}");
        }
        assert_eq!(semaphore.available_permits(), 2);
        assert!(lock.try_write().is_some());
    }
}

#[test]
fn a_notification_is_passed_on_by_one_who_is_cancelled() {
    for _ in 0..200 {
        let shared = Arc::new((Mutex::new((0, 0)), Condvar::new()));
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let shared = Arc::clone(&shared);
                coroutine::spawn(move || {
                    let mut state = shared.0.lock();
                    state.0 += 1;
                    let mut state = shared.1.wait_while(state, |state| state.1 == 0);
                    state.1 -= 1;
                })
            })
            .collect();
        let (mutex, condvar) = &*shared;
        until(|| mutex.lock().0 == 2);
        let mut state = mutex.lock();
        state.1 = 1;
        // The woken task finds the lock held; the first in the queue is cancelled there.
        condvar.notify_one();
        tasks[0].cancel();
        drop(state);
        let mut ended = tasks.into_iter().map(|task| task.join());
        if ended.next().unwrap().is_ok() {
            // It was faster than the cancellation, so the other gets a notification of its own.
            mutex.lock().1 += 1;
            condvar.notify_one();
        }
        ended.next().unwrap().unwrap();
    }
}

#[test]
fn one_who_is_cancelled_has_not_arrived_and_waits_for_no_event() {
    for kind in KINDS {
        let barrier = Arc::new(Barrier::new(2));
        let own = Arc::clone(&barrier);
        let task = spawn(kind, move || own.wait().is_leader());
        until_it_waits(&task);
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
        let own = Arc::clone(&barrier);
        let task = spawn(kind, move || own.wait().is_leader());
        assert_ne!(barrier.wait().is_leader(), task.join().unwrap());

        let event = Arc::new(Event::new());
        let own = Arc::clone(&event);
        let task = spawn(kind, move || own.wait());
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
        event.set();
    }
}
