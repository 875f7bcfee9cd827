//! `Semaphore`.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use trine::sync::Semaphore;
use trine::{coroutine, time};

use super::{KINDS, LONG, SHORT, kind_of, spawn, until, until_it_waits};

#[test]
fn there_are_never_more_inside_than_permits() {
    const PERMITS: usize = 7;
    let semaphore = Arc::new(Semaphore::new(PERMITS));
    let inside = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..24)
        .map(|n| {
            let (semaphore, inside) = (Arc::clone(&semaphore), Arc::clone(&inside));
            spawn(kind_of(n), move || {
                for round in 0..300 {
                    let many = 1 + (n + round) % 3;
                    let permit = if round % 5 == 0 {
                        semaphore.acquire_many_timeout(many, Duration::from_micros(30))
                    } else {
                        Some(semaphore.acquire_many(many))
                    };
                    let Some(permit) = permit else { continue };
                    assert_eq!(permit.permits(), many);
                    let now = inside.fetch_add(many, SeqCst) + many;
                    assert!(now <= PERMITS, "{now} permits at once");
                    match round % 4 {
                        0 => time::sleep(Duration::from_micros(10)),
                        1 => coroutine::yield_now(),
                        _ => {}
                    }
                    inside.fetch_sub(many, SeqCst);
                }
            })
        })
        .collect();
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!(semaphore.available_permits(), PERMITS);
}

#[test]
fn who_wants_many_is_not_starved_by_those_who_want_few() {
    let semaphore = Arc::new(Semaphore::new(2));
    let done = Arc::new(AtomicBool::new(false));
    let few: Vec<_> = (0..4)
        .map(|n| {
            let (semaphore, done) = (Arc::clone(&semaphore), Arc::clone(&done));
            spawn(kind_of(n), move || {
                while !done.load(SeqCst) {
                    let _permit = semaphore.acquire();
                    coroutine::yield_now();
                }
            })
        })
        .collect();
    // Both permits are hardly ever free by themselves.
    for _ in 0..50 {
        drop(semaphore.acquire_many(2));
    }
    done.store(true, SeqCst);
    for task in few {
        task.join().unwrap();
    }
}

#[test]
fn permits_are_added_and_forgotten() {
    for kind in KINDS {
        let semaphore = Arc::new(Semaphore::new(0));
        assert!(semaphore.try_acquire().is_none());
        assert!(semaphore.acquire_timeout(SHORT).is_none());
        assert_eq!(semaphore.acquire_many(0).permits(), 0);
        let own = Arc::clone(&semaphore);
        let task = spawn(kind, move || own.acquire_many(3).forget());
        until_it_waits(&task);
        semaphore.add_permits(2);
        assert_eq!(semaphore.available_permits(), 2);
        // They are kept for it once it waits.
        until(|| semaphore.try_acquire().is_none());
        semaphore.add_permits(2);
        task.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
        drop(semaphore.try_acquire().unwrap());
        assert_eq!(semaphore.available_permits(), 1);
    }
}

#[test]
fn the_next_has_its_turn_when_the_one_in_front_gives_up() {
    for kind in KINDS {
        let semaphore = Arc::new(Semaphore::new(1));
        let (own, other) = (Arc::clone(&semaphore), Arc::clone(&semaphore));
        let front = spawn(kind, move || own.acquire_many_timeout(2, 10 * SHORT).is_none());
        until_it_waits(&front);
        // One permit is free, but the first waiter wants two.
        let next = spawn(kind, move || other.acquire_timeout(LONG).is_some());
        assert!(front.join().unwrap());
        assert!(next.join().unwrap());
        assert_eq!(semaphore.available_permits(), 1);
    }
}

#[test]
fn permits_may_be_given_back_elsewhere() {
    static SEMAPHORE: Semaphore = Semaphore::new(1);
    let permit = SEMAPHORE.acquire();
    let task = coroutine::spawn(move || drop(permit));
    drop(SEMAPHORE.acquire());
    task.join().unwrap();
}

#[test]
fn what_can_never_be_granted_is_told() {
    let absurd = Semaphore::MAX_PERMITS + 1;
    let message = |told: Box<dyn std::any::Any + Send>| *told.downcast::<String>().unwrap();
    catch_unwind(|| Semaphore::new(absurd)).unwrap_err();
    let told = catch_unwind(|| drop(Semaphore::new(1).acquire_many(absurd))).unwrap_err();
    assert!(message(told).contains("ask for at most Semaphore::MAX_PERMITS"));
    catch_unwind(|| Semaphore::new(1).try_acquire_many(absurd).is_some()).unwrap_err();
    let told = catch_unwind(|| Semaphore::new(2).add_permits(absurd - 2)).unwrap_err();
    assert!(message(told).contains("would be too many"));
    let full = Semaphore::new(Semaphore::MAX_PERMITS);
    drop(full.acquire_many(Semaphore::MAX_PERMITS));
    assert_eq!(full.available_permits(), Semaphore::MAX_PERMITS);
}
