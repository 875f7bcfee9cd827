//! `Mutex`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use trine::coroutine::spawn_local;
use trine::sync::{MappedMutexGuard, Mutex, MutexGuard};
use trine::{Cause, State, coroutine, thread, time};

use super::{KINDS, LONG, SHORT, kind_of, spawn, until, until_it_waits};

/// Counts without atomics: increments are lost unless the lock excludes.
fn count_up(tasks: usize, rounds: u64, inside: fn(u64)) {
    let count = Arc::new(Mutex::new(0_u64));
    let tasks: Vec<_> = (0..tasks)
        .map(|n| {
            let count = Arc::clone(&count);
            spawn(kind_of(n), move || {
                for round in 0..rounds {
                    let mut guard = count.lock();
                    let seen = *guard;
                    inside(round);
                    *guard = seen + 1;
                }
            })
        })
        .collect();
    let expected = rounds * tasks.len() as u64;
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!(*count.lock(), expected);
}

#[test]
fn one_at_a_time_in_short_sections() {
    count_up(8, 20_000, |_| {});
}

#[test]
fn one_at_a_time_in_sections_that_wait() {
    count_up(16, 200, |round| {
        if round % 8 == 0 {
            time::sleep(Duration::from_micros(20));
        } else {
            coroutine::yield_now();
        }
    });
}

#[test]
fn one_at_a_time_with_some_who_give_up() {
    let count = Arc::new(Mutex::new(0_u64));
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let count = Arc::clone(&count);
            spawn(kind_of(n), move || {
                let mut own = 0;
                for round in 0..500_u64 {
                    let patience = Duration::from_micros(round % 50);
                    if let Some(mut guard) = count.lock_timeout(patience) {
                        let seen = *guard;
                        coroutine::yield_now();
                        *guard = seen + 1;
                        own += 1;
                    }
                }
                own
            })
        })
        .collect();
    let sum: u64 = tasks.into_iter().map(|task| task.join().unwrap()).sum();
    assert_eq!(*count.lock(), sum);
}

#[test]
fn many_threads_and_main_share_a_static() {
    static COUNT: Mutex<usize> = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5_000).for_each(|_| *COUNT.lock() += 1));
        }
        (0..5_000).for_each(|_| *COUNT.lock() += 1);
    });
    assert_eq!(*COUNT.lock(), 25_000);
}

#[test]
fn whoever_locks_in_a_loop_is_not_alone() {
    // It yields only while it holds the lock, so the others never find it free.
    for greedy in KINDS {
        for patient in KINDS {
            let mutex = Arc::new(Mutex::new(0_u64));
            let done = Arc::new(AtomicBool::new(false));
            let (lock, end) = (Arc::clone(&mutex), Arc::clone(&done));
            let greedy = spawn(greedy, move || {
                while !end.load(SeqCst) {
                    let mut guard = lock.lock();
                    *guard += 1;
                    coroutine::yield_now();
                }
            });
            let lock = Arc::clone(&mutex);
            let patient = spawn(patient, move || {
                for _ in 0..20 {
                    drop(lock.lock());
                }
            });
            patient.join().unwrap();
            done.store(true, SeqCst);
            greedy.join().unwrap();
        }
    }
}

#[test]
fn everybody_in_the_queue_advances_within_a_bounded_number_of_acquisitions() {
    const WAITING: usize = 10;
    // Others may pass the first waiter 256 times, and once more before it is woken.
    const BOUND: u64 = (WAITING as u64 + 1) * 260;
    let mutex = Arc::new(Mutex::new(0_u64));
    let guard = mutex.lock();
    let tasks: Vec<_> = (0..WAITING)
        .map(|_| {
            let mutex = Arc::clone(&mutex);
            let task = coroutine::spawn(move || *mutex.lock());
            until_it_waits(&task);
            task
        })
        .collect();
    drop(guard);
    while tasks.iter().any(|task| !task.is_finished()) {
        // Counts acquisitions while others wait.
        *mutex.lock() += 1;
    }
    for task in tasks {
        let passed = task.join().unwrap();
        assert!(passed <= BOUND, "{passed} acquisitions went before");
    }
}

#[test]
fn who_times_out_leaves_no_trace() {
    for kind in KINDS {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock();
        assert!(mutex.try_lock().is_none());
        let lock = Arc::clone(&mutex);
        let impatient = spawn(kind, move || lock.lock_timeout(SHORT).is_none());
        let (lock, other) = (Arc::clone(&mutex), Arc::clone(&mutex));
        let first = spawn(kind, move || lock.lock_timeout(LONG).is_some());
        let second = spawn(kind, move || drop(other.lock()));
        assert!(impatient.join().unwrap());
        until_it_waits(&first);
        until_it_waits(&second);
        drop(guard);
        assert!(first.join().unwrap());
        second.join().unwrap();
        // No task waits any more, and the fast path is open again.
        assert!(mutex.try_lock().is_some());
    }
}

#[test]
fn a_duration_that_no_clock_can_count_waits_for_good() {
    let mutex = Arc::new(Mutex::new(()));
    let guard = mutex.lock();
    let lock = Arc::clone(&mutex);
    let task = coroutine::spawn(move || lock.lock_timeout(Duration::MAX).is_some());
    until_it_waits(&task);
    drop(guard);
    assert!(task.join().unwrap());
}

#[test]
fn a_task_that_locks_twice_is_told() {
    for kind in KINDS {
        let error = spawn(kind, || {
            let mutex = Mutex::new(1);
            let _first = mutex.lock();
            let _second = mutex.lock();
        })
        .join()
        .unwrap_err();
        let Cause::Panicked { message, location, .. } = error.cause() else { panic!("{error}") };
        assert!(message.contains("drop the first guard before locking again"), "{message}");
        assert!(location.as_ref().unwrap().file.ends_with("mutex.rs"));
    }
    // `main` and plain threads are no tasks, and get the same panic.
    let mutex = Mutex::new(());
    let guard = mutex.lock();
    let told = catch_unwind(AssertUnwindSafe(|| drop(mutex.lock_timeout(Duration::MAX))));
    assert!(told.is_err());
    // With a limit the wait ends by itself.
    assert!(mutex.lock_timeout(SHORT).is_none());
    drop(guard);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn a_lock_that_the_caller_holds_times_out_where_a_deadline_is_in_force() {
    fn relock() {
        let mutex = Mutex::new(1);
        let _held = mutex.lock();
        let within = |limit| time::timeout(limit, || drop(mutex.lock()));
        assert!(within(SHORT).is_err());
        // The earlier limit counts, and the wait ends where it was set.
        assert!(time::timeout(SHORT, || within(LONG).is_ok()).is_err());
        let unlimited = catch_unwind(AssertUnwindSafe(|| within(Duration::MAX)));
        assert!(unlimited.is_err(), "a wait without a limit still panics");
    }
    relock();
    KINDS.into_iter().for_each(|kind| spawn(kind, relock).join().unwrap());
}

#[test]
fn a_cancelled_task_that_locks_twice_is_cancelled() {
    for kind in KINDS {
        let task = spawn(kind, || {
            let mutex = Mutex::new(1);
            let _held = mutex.lock();
            while !trine::cancelled() {
                coroutine::yield_now();
            }
            drop(mutex.lock());
        });
        until(|| task.state() != State::New);
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
    }
}

#[test]
fn coroutines_of_one_carrier_are_told_apart() {
    let mutex = Arc::new(Mutex::new(()));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let mutex = Arc::clone(&mutex);
            coroutine::spawn(move || {
                let _guard = mutex.lock();
                coroutine::yield_now();
            })
        })
        .collect();
    for task in tasks {
        task.join().unwrap();
    }
}

#[test]
fn a_guard_may_outlive_the_task_that_took_it() {
    let mutex: &'static Mutex<u32> = Box::leak(Box::new(Mutex::new(1)));
    for _ in 0..10 {
        let guard = spawn_local(move || mutex.lock()).join().unwrap();
        // The next task takes the place in the registry that the last one has left.
        let next = spawn_local(move || *mutex.lock());
        until(|| next.state() == State::Waiting || next.is_finished());
        drop(guard);
        assert_eq!(next.join().unwrap(), 1);
    }
}

#[test]
fn a_panic_unlocks_and_poisons_nothing() {
    for kind in KINDS {
        let mutex = Arc::new(Mutex::new(1));
        let lock = Arc::clone(&mutex);
        let waiting = Arc::clone(&mutex);
        let panics = spawn(kind, move || {
            let mut guard = lock.lock();
            *guard = 2;
            let waits = thread::spawn(move || *waiting.lock());
            until_it_waits(&waits);
            let _outlives_the_guard = waits;
            let _guard = guard;
            std::panic::panic_any(_outlives_the_guard.id());
        });
        assert!(panics.join().unwrap_err().is_panic());
        assert_eq!(*mutex.lock(), 2);
    }
}

#[test]
fn the_value_comes_out_and_is_shown() {
    let mut mutex = Mutex::from(String::from("a"));
    mutex.get_mut().push('b');
    assert_eq!(format!("{mutex:?}"), "Mutex { data: \"ab\" }");
    let guard = mutex.lock();
    assert_eq!(format!("{mutex:?} {guard:?} {guard}"), "Mutex { data: <locked> } \"ab\" ab");
    drop(guard);
    assert_eq!(mutex.into_inner(), "ab");
    assert_eq!(*Mutex::<u8>::default().lock(), 0);
    // The value may be unsized.
    let words: &Mutex<[u8]> = &Mutex::new([1, 2, 3]);
    words.lock()[0] = 4;
    assert_eq!(*words.lock(), [4, 2, 3]);
}

#[test]
fn what_one_did_under_the_lock_the_next_has_seen() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    let mutex = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..4)
        .map(|n| {
            let mutex = Arc::clone(&mutex);
            spawn(kind_of(n), move || {
                for _ in 0..1000 {
                    let mut guard = mutex.lock();
                    guard.push(n);
                    SEEN.fetch_max(guard.len(), SeqCst);
                }
            })
        })
        .collect();
    for task in tasks {
        task.join().unwrap();
    }
    assert_eq!((SEEN.load(SeqCst), mutex.lock().len()), (4000, 4000));
}

#[test]
fn a_mapped_guard_holds_the_lock_and_unlocks_when_it_is_dropped() {
    for kind in KINDS {
        let mutex = Arc::new(Mutex::new((1, [2, 3])));
        let guard = MutexGuard::map(mutex.lock(), |pair| &mut pair.1);
        let mut last = MappedMutexGuard::map(guard, |pair| &mut pair[1]);
        assert!(mutex.is_locked() && mutex.try_lock().is_none());
        let lock = Arc::clone(&mutex);
        let waits = spawn(kind, move || lock.lock().1[1]);
        until_it_waits(&waits);
        *last += 4;
        assert_eq!(format!("{last} {last:?}"), "7 7");
        drop(last);
        assert_eq!(waits.join().unwrap(), 7);
        assert!(!mutex.is_locked());
    }
}

#[test]
fn a_guard_that_is_not_mapped_comes_back() {
    let mutex = Mutex::new([1, 2]);
    let guard = MutexGuard::filter_map(mutex.lock(), |pair| pair.get_mut(2)).unwrap_err();
    assert!(mutex.try_lock().is_none());
    let part = MutexGuard::filter_map(guard, |pair| pair.get_mut(1)).unwrap();
    let part = MappedMutexGuard::filter_map(part, |_| None::<&mut u8>).unwrap_err();
    let part = MappedMutexGuard::filter_map(part, |part| Some(part)).unwrap();
    assert_eq!(*part, 2);
    drop(part);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn a_mapping_that_panics_unlocks() {
    let mutex = Mutex::new(1);
    let map = || drop(MutexGuard::map(mutex.lock(), |_| -> &mut u8 { panic!("no part") }));
    catch_unwind(map).unwrap_err();
    assert!(!mutex.is_locked());
    let part = || MutexGuard::map(mutex.lock(), |value| value);
    let map = || drop(MappedMutexGuard::map(part(), |_| -> &mut u8 { panic!("no part") }));
    catch_unwind(map).unwrap_err();
    assert!(!mutex.is_locked());
    // The caller, which holds it no more, is not taken for the holder.
    drop(mutex.lock());
}

#[test]
fn a_task_that_locks_beside_its_mapped_guard_is_refused() {
    let mutex = Mutex::new((1, 2));
    let part = MutexGuard::map(mutex.lock(), |pair| &mut pair.0);
    catch_unwind(|| drop(mutex.lock())).unwrap_err();
    drop(part);
    assert_eq!(*mutex.lock(), (1, 2));
}
