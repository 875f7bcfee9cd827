//! `RwLock`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use trine::coroutine::spawn_local;
use trine::sync::{
    Event, MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use trine::{State, coroutine, time};

use super::{KINDS, LONG, SHORT, kind_of, spawn, until, until_it_waits};

#[test]
fn there_is_one_writer_or_there_are_readers() {
    let lock = Arc::new(RwLock::new((0_u64, 0_u64)));
    // The number of readers inside, or -1 for a writer.
    let inside = Arc::new(AtomicIsize::new(0));
    let tasks: Vec<_> = (0..16)
        .map(|n| {
            let (lock, inside) = (Arc::clone(&lock), Arc::clone(&inside));
            spawn(kind_of(n), move || {
                let mut written = 0;
                for round in 0..400 {
                    let patience = Duration::from_micros(round % 30);
                    let pause = || match round % 6 {
                        0 => time::sleep(Duration::from_micros(10)),
                        1 => coroutine::yield_now(),
                        _ => {}
                    };
                    if (n as u64 / 2 + round).is_multiple_of(4) {
                        let guard = match round % 3 {
                            0 => lock.write_timeout(patience),
                            1 => lock.try_write(),
                            _ => Some(lock.write()),
                        };
                        let Some(mut guard) = guard else { continue };
                        assert_eq!(inside.swap(-1, SeqCst), 0);
                        guard.0 += 1;
                        pause();
                        guard.1 += 1;
                        written += 1;
                        assert_eq!(inside.swap(0, SeqCst), -1);
                    } else {
                        let guard = match round % 3 {
                            0 => lock.read_timeout(patience),
                            1 => lock.try_read(),
                            _ => Some(lock.read()),
                        };
                        let Some(guard) = guard else { continue };
                        assert!(inside.fetch_add(1, SeqCst) >= 0);
                        pause();
                        assert_eq!(guard.0, guard.1);
                        assert!(inside.fetch_sub(1, SeqCst) > 0);
                    }
                }
                written
            })
        })
        .collect();
    let written: u64 = tasks.into_iter().map(|task| task.join().unwrap()).sum();
    assert_eq!(*lock.read(), (written, written));
}

#[test]
fn many_read_at_once() {
    for kind in KINDS {
        let lock = Arc::new(RwLock::new(5));
        let inside = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..30)
            .map(|_| {
                let (lock, inside) = (Arc::clone(&lock), Arc::clone(&inside));
                spawn(kind, move || {
                    let guard = lock.read();
                    inside.fetch_add(1, SeqCst);
                    until(|| inside.load(SeqCst) == 30);
                    *guard
                })
            })
            .collect();
        assert!(tasks.into_iter().all(|task| task.join().unwrap() == 5));
    }
}

#[test]
fn readers_that_waited_go_together() {
    for kind in KINDS {
        let lock = Arc::new(RwLock::new(()));
        let inside = Arc::new(AtomicUsize::new(0));
        let guard = lock.write();
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (lock, inside) = (Arc::clone(&lock), Arc::clone(&inside));
                let task = spawn(kind, move || {
                    let _guard = lock.read();
                    inside.fetch_add(1, SeqCst);
                    until(|| inside.load(SeqCst) == 10);
                });
                until_it_waits(&task);
                task
            })
            .collect();
        drop(guard);
        for task in tasks {
            task.join().unwrap();
        }
    }
}

#[test]
fn writers_are_not_starved_by_readers_nor_readers_by_writers() {
    let lock = Arc::new(RwLock::new(0_u64));
    let done = Arc::new(AtomicBool::new(false));
    let endless = |writes: bool| {
        let tasks: Vec<_> = (0..4)
            .map(|n| {
                let (lock, done) = (Arc::clone(&lock), Arc::clone(&done));
                spawn(kind_of(n), move || {
                    while !done.load(SeqCst) {
                        // Overlaps with the others, so that the lock is never free by itself.
                        if writes {
                            let _guard = lock.write();
                            coroutine::yield_now();
                        } else {
                            let _guard = lock.read();
                            coroutine::yield_now();
                        }
                    }
                })
            })
            .collect();
        tasks
    };
    let readers = endless(false);
    for _ in 0..50 {
        *lock.write() += 1;
    }
    done.store(true, SeqCst);
    readers.into_iter().for_each(|task| task.join().unwrap());
    done.store(false, SeqCst);
    let writers = endless(true);
    for _ in 0..50 {
        assert_eq!(*lock.read(), 50);
    }
    done.store(true, SeqCst);
    writers.into_iter().for_each(|task| task.join().unwrap());
}

#[test]
fn a_writer_that_gives_up_lets_the_readers_behind_it_in() {
    for kind in KINDS {
        let lock = Arc::new(RwLock::new(()));
        let first = lock.read();
        let (own, gone) = (Arc::clone(&lock), Arc::new(Event::new()));
        let gave_up = Arc::clone(&gone);
        let writer = spawn(kind, move || {
            assert!(own.write_timeout(10 * SHORT).is_none());
            gave_up.set();
        });
        until(|| lock.try_read().is_none() || gone.is_set());
        let own = Arc::clone(&lock);
        let reader = spawn(kind, move || own.read_timeout(LONG).is_some());
        assert!(reader.join().unwrap());
        writer.join().unwrap();
        drop(first);
        assert!(lock.try_write().is_some());
    }
}

#[test]
fn a_writer_that_locks_again_is_told() {
    let lock = RwLock::new(1);
    let guard = lock.write();
    catch_unwind(AssertUnwindSafe(|| drop(lock.write()))).unwrap_err();
    catch_unwind(AssertUnwindSafe(|| drop(lock.read()))).unwrap_err();
    catch_unwind(AssertUnwindSafe(|| drop(lock.read_timeout(Duration::MAX)))).unwrap_err();
    assert!(lock.write_timeout(SHORT).is_none() && lock.read_timeout(SHORT).is_none());
    // A deadline around the wait is a limit as well.
    time::timeout(SHORT, || drop(lock.write())).unwrap_err();
    time::timeout(SHORT, || drop(lock.read())).unwrap_err();
    drop(guard);
    assert_eq!(*lock.read(), 1);
}

#[test]
fn a_writer_s_guard_may_outlive_its_task() {
    let lock: &'static RwLock<u32> = Box::leak(Box::new(RwLock::new(1)));
    let guard = spawn_local(move || lock.write()).join().unwrap();
    let next = [spawn_local(move || *lock.read()), spawn_local(move || *lock.write())];
    until(|| next.iter().all(|next| next.state() == State::Waiting || next.is_finished()));
    drop(guard);
    next.into_iter().for_each(|next| assert_eq!(next.join().unwrap(), 1));
}

#[test]
fn the_value_comes_out_and_is_shown() {
    let mut lock = RwLock::from(String::from("a"));
    lock.get_mut().push('b');
    assert_eq!(format!("{lock:?} {:?}", lock.read()), "RwLock { data: \"ab\" } \"ab\"");
    let guard = lock.write();
    assert_eq!(format!("{lock:?} {guard:?}"), "RwLock { data: <locked> } \"ab\"");
    drop(guard);
    assert_eq!(lock.into_inner(), "ab");
    assert_eq!(*RwLock::<u8>::default().read(), 0);
}

#[test]
fn a_downgraded_writer_lets_the_waiting_readers_in_and_no_writer() {
    for kind in KINDS {
        let lock = Arc::new(RwLock::new(1));
        let mut writer = lock.write();
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let lock = Arc::clone(&lock);
                let task = spawn(kind, move || *lock.read());
                until_it_waits(&task);
                task
            })
            .collect();
        *writer = 2;
        let reader = RwLockWriteGuard::downgrade(writer);
        for task in readers {
            assert_eq!(task.join().unwrap(), 2);
        }
        let other = Arc::clone(&lock);
        let next = spawn(kind, move || *other.write() = 3);
        until_it_waits(&next);
        assert!(lock.is_locked() && !lock.is_locked_exclusive() && !next.is_finished());
        assert_eq!(*reader, 2);
        drop(reader);
        next.join().unwrap();
        assert_eq!(*lock.read(), 3);
    }
}

#[test]
fn a_downgraded_writer_is_the_holder_no_more() {
    let lock = RwLock::new(1);
    let reader = RwLockWriteGuard::downgrade(lock.write());
    // A wait for the caller's own lock would panic.
    assert!(lock.write_timeout(SHORT).is_none());
    assert_eq!(*reader + *lock.read(), 2);
    drop(reader);
    assert!(!lock.is_locked());
}

#[test]
fn downgrades_beside_writers_never_show_a_value_that_changes() {
    let lock = Arc::new(RwLock::new(0_u64));
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let lock = Arc::clone(&lock);
            spawn(kind_of(n), move || {
                for _ in 0..300 {
                    let mut writer = lock.write();
                    *writer += 1;
                    let own = *writer;
                    let reader = RwLockWriteGuard::downgrade(writer);
                    coroutine::yield_now();
                    assert_eq!(*reader, own);
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    assert_eq!(*lock.try_write().unwrap(), 8 * 300);
}

#[test]
fn mapped_guards_hold_the_lock_as_the_guards_did() {
    let lock = RwLock::new((1, [2, 3]));
    let one = RwLockReadGuard::map(lock.read(), |pair| &pair.1);
    let one = MappedRwLockReadGuard::map(one, |pair| &pair[0]);
    let other = RwLockReadGuard::filter_map(lock.read(), |pair| pair.1.get(1)).unwrap();
    let other = MappedRwLockReadGuard::filter_map(other, |_| None::<&u8>).unwrap_err();
    assert_eq!(format!("{one} {other:?}"), "2 3");
    drop(one);
    assert!(lock.try_write().is_none());
    drop(other);

    let guard = RwLockWriteGuard::filter_map(lock.write(), |_| None::<&mut u8>).unwrap_err();
    let part = RwLockWriteGuard::map(guard, |pair| &mut pair.1);
    let mut part = MappedRwLockWriteGuard::map(part, |pair| &mut pair[0]);
    *part = 5;
    assert!(lock.try_read().is_none() && lock.is_locked_exclusive());
    catch_unwind(|| drop(lock.read())).unwrap_err();
    let part = MappedRwLockWriteGuard::filter_map(part, |part| Some(part)).unwrap();
    assert_eq!(format!("{part} {part:?}"), "5 5");
    drop(part);
    let map = || drop(RwLockWriteGuard::map(lock.write(), |_| -> &mut u8 { panic!("no part") }));
    catch_unwind(map).unwrap_err();
    assert!(!lock.is_locked());
    assert_eq!(*lock.read(), (1, [5, 3]));
}
