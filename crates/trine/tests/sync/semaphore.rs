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

#[test]
fn a_close_ends_the_waits_of_all_and_refuses_all_later_callers() {
    for kind in KINDS {
        let semaphore = Arc::new(Semaphore::new(1));
        let taken = semaphore.acquire();
        let waiting: Vec<_> = (0..40)
            .map(|n| {
                let semaphore = Arc::clone(&semaphore);
                spawn(kind, move || match n % 4 {
                    0 => semaphore.acquire_unless_closed(1 + n).is_err(),
                    1 => semaphore.acquire_many_timeout(1, LONG).is_none(),
                    2 => semaphore.acquire_timeout(Duration::MAX).is_none(),
                    _ => semaphore.acquire_owned_unless_closed(1).is_err(),
                })
            })
            .collect();
        waiting.iter().for_each(until_it_waits);
        semaphore.close();
        for task in waiting {
            assert!(task.join().unwrap());
        }
        assert!(semaphore.is_closed());
        drop(taken);
        semaphore.add_permits(1);
        // They are counted, and refused all the same.
        assert_eq!(semaphore.available_permits(), 2);
        semaphore.close();
        for n in [0, 1, 2] {
            assert!(semaphore.acquire_unless_closed(n).is_err());
            assert!(semaphore.try_acquire_many(n).is_none());
            assert!(semaphore.acquire_many_timeout(n, Duration::MAX).is_none());
            assert!(Arc::clone(&semaphore).try_acquire_many_owned(n).is_none());
        }
        let shown = format!("{semaphore:?}");
        assert_eq!(shown, "Semaphore { available_permits: 2, closed: true }");
    }
}

#[test]
fn a_task_that_waits_for_a_permit_without_an_error_panics_at_the_close() {
    for kind in KINDS {
        let semaphore = Arc::new(Semaphore::new(0));
        let own = Arc::clone(&semaphore);
        let waiting = spawn(kind, move || drop(own.acquire()));
        until_it_waits(&waiting);
        semaphore.close();
        let error = waiting.join().unwrap_err();
        assert!(error.to_string().contains("acquire_unless_closed"), "{error}");
        let own = Arc::clone(&semaphore);
        catch_unwind(move || drop(own.acquire_owned())).unwrap_err();
    }
}

#[test]
fn a_close_meets_takers_and_givers_at_all_moments() {
    for round in 0..200 {
        let semaphore = Arc::new(Semaphore::new(2));
        let tasks: Vec<_> = (0..6)
            .map(|n| {
                let semaphore = Arc::clone(&semaphore);
                spawn(kind_of(n), move || {
                    let mut taken = 0;
                    loop {
                        let patience = Duration::from_micros(taken % 20);
                        let permit = match taken % 3 {
                            0 => semaphore.acquire_many_timeout(2, patience),
                            _ => semaphore.acquire_unless_closed(1).ok(),
                        };
                        if permit.is_none() && semaphore.is_closed() {
                            return;
                        }
                        coroutine::yield_now();
                        taken += 1;
                    }
                })
            })
            .collect();
        (0..round).for_each(|_| coroutine::yield_now());
        semaphore.close();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(semaphore.available_permits(), 2);
    }
}

#[test]
fn a_task_that_is_cancelled_beside_a_close_leaves_no_trace() {
    for kind in KINDS {
        for _ in 0..50 {
            let semaphore = Arc::new(Semaphore::new(0));
            let tasks: Vec<_> = (0..4)
                .map(|_| {
                    let semaphore = Arc::clone(&semaphore);
                    spawn(kind, move || semaphore.acquire_unless_closed(1).is_err())
                })
                .collect();
            let closer = Arc::clone(&semaphore);
            let closing = std::thread::spawn(move || closer.close());
            tasks[1].cancel();
            tasks[3].cancel();
            closing.join().unwrap();
            for task in tasks {
                assert!(task.join().unwrap_or_else(|error| error.is_cancelled()));
            }
            assert_eq!(semaphore.available_permits(), 0);
        }
    }
}

#[test]
fn an_owned_permit_travels_with_a_task_and_is_given_back_at_its_end() {
    for kind in KINDS {
        let semaphore = Arc::new(Semaphore::new(2));
        for n in 0..100 {
            let permit = Arc::clone(&semaphore).acquire_owned();
            assert!(Arc::ptr_eq(permit.semaphore(), &semaphore));
            // Detached: the next round waits for its end.
            drop(spawn(kind, move || assert_eq!((permit.permits(), n / 100), (1, 0))));
        }
        let both = Arc::clone(&semaphore).acquire_many_owned(2);
        assert!(Arc::clone(&semaphore).try_acquire_owned().is_none());
        both.forget();
        assert_eq!(semaphore.available_permits(), 0);
        until(|| Arc::strong_count(&semaphore) == 1);
    }
}
