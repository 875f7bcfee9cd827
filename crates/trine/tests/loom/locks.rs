//! The protocol of `permits.rs`, and the locks made of it.

use crate::sync::Mutex;
use crate::sync::mutex::MutexGuard;
use crate::sync::rwlock::{RwLock, RwLockWriteGuard};
use crate::sync::semaphore::Semaphore;
use crate::{NO_TIME, check};

/// A number that loom watches: two accesses that are not ordered are an error.
struct Watched(loom::cell::UnsafeCell<u32>);

// SAFETY: loom reports any access that this would make unsound.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    fn new() -> Watched {
        Watched(loom::cell::UnsafeCell::new(0))
    }

    fn add(&self) {
        // SAFETY: as above.
        self.0.with_mut(|n| unsafe { *n += 1 });
    }

    fn get(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|n| unsafe { *n })
    }
}

fn lock_and_add(mutex: &Mutex<Watched>) {
    mutex.lock().add();
}

fn lock_and_add_twice(mutex: &Mutex<Watched>) {
    mutex.lock().add();
    mutex.lock().add();
}

fn add_if_free_in_time(mutex: &Mutex<Watched>) {
    if let Some(guard) = mutex.lock_timeout(NO_TIME) {
        guard.add();
    }
}

#[test]
fn two_lock_twice() {
    check(
        4,
        || Mutex::new(Watched::new()),
        &[lock_and_add_twice, lock_and_add_twice],
        |mutex| assert_eq!(mutex.try_lock().unwrap().get(), 4),
    );
}

#[test]
fn three_lock_once() {
    check(
        3,
        || Mutex::new(Watched::new()),
        &[lock_and_add, lock_and_add, lock_and_add],
        |mutex| assert_eq!(mutex.try_lock().unwrap().get(), 3),
    );
}

#[test]
fn one_locks_again_and_passes_two() {
    check(
        2,
        || Mutex::new(Watched::new()),
        &[lock_and_add_twice, lock_and_add, lock_and_add],
        |mutex| assert_eq!(mutex.try_lock().unwrap().get(), 4),
    );
}

#[test]
fn one_gives_up_between_two() {
    check(
        3,
        || Mutex::new(Watched::new()),
        &[lock_and_add, lock_and_add, add_if_free_in_time],
        |mutex| assert!(mutex.try_lock().unwrap().get() >= 2),
    );
}

#[test]
fn two_give_up_beside_one() {
    check(
        3,
        || Mutex::new(Watched::new()),
        &[lock_and_add_twice, add_if_free_in_time, add_if_free_in_time],
        |mutex| assert!(mutex.try_lock().unwrap().get() >= 2),
    );
}

fn write(lock: &RwLock<Watched>) {
    lock.write().add();
}

fn read(lock: &RwLock<Watched>) {
    lock.read().get();
}

fn write_if_free_in_time(lock: &RwLock<Watched>) {
    if let Some(guard) = lock.write_timeout(NO_TIME) {
        guard.add();
    }
}

#[test]
fn readers_and_a_writer() {
    check(
        3,
        || RwLock::new(Watched::new()),
        &[read, write, read],
        |lock| assert_eq!(lock.try_write().unwrap().get(), 1),
    );
}

#[test]
fn writers_and_a_reader() {
    check(
        3,
        || RwLock::new(Watched::new()),
        &[write, read, write],
        |lock| assert_eq!(lock.try_write().unwrap().get(), 2),
    );
}

fn write_and_read_on(lock: &RwLock<Watched>) {
    let writer = lock.write();
    writer.add();
    let reader = RwLockWriteGuard::downgrade(writer);
    reader.get();
}

#[test]
fn a_writer_is_downgraded_beside_a_reader_and_a_writer() {
    check(
        3,
        || RwLock::new(Watched::new()),
        &[read, write_and_read_on, write],
        |lock| assert_eq!(lock.try_write().unwrap().get(), 2),
    );
}

#[test]
fn two_writers_are_downgraded() {
    check(
        4,
        || RwLock::new(Watched::new()),
        &[write_and_read_on, write_and_read_on],
        |lock| assert_eq!(lock.try_write().unwrap().get(), 2),
    );
}

#[test]
fn a_mapped_guard_and_a_guard() {
    check(
        4,
        || Mutex::new((Watched::new(), ())),
        &[
            |mutex: &Mutex<(Watched, ())>| MutexGuard::map(mutex.lock(), |pair| &mut pair.0).add(),
            |mutex: &Mutex<(Watched, ())>| mutex.lock().0.add(),
        ],
        |mutex| assert_eq!(mutex.try_lock().unwrap().0.get(), 2),
    );
}

#[test]
fn a_writer_gives_up_between_readers() {
    check(
        3,
        || RwLock::new(Watched::new()),
        &[read, write_if_free_in_time, read],
        |lock| assert!(lock.try_write().is_some()),
    );
}

#[test]
fn permits_come_one_by_one_for_one_who_wants_two() {
    check(
        3,
        || Semaphore::new(0),
        &[
            |semaphore: &Semaphore| semaphore.acquire_many(2).forget(),
            |semaphore: &Semaphore| semaphore.add_permits(1),
            |semaphore: &Semaphore| semaphore.add_permits(1),
        ],
        |semaphore| assert_eq!(semaphore.available_permits(), 0),
    );
}

#[test]
fn one_who_wants_two_gives_up_before_one_who_wants_one() {
    check(
        3,
        || Semaphore::new(0),
        &[
            |semaphore: &Semaphore| drop(semaphore.acquire()),
            |semaphore: &Semaphore| drop(semaphore.acquire_many_timeout(2, NO_TIME)),
            |semaphore: &Semaphore| semaphore.add_permits(1),
        ],
        |semaphore| {
            assert_eq!(semaphore.try_acquire_many(1).map(|permit| permit.permits()), Some(1))
        },
    );
}

#[test]
fn one_wants_all_and_two_want_one() {
    check(
        3,
        || Semaphore::new(2),
        &[
            |semaphore: &Semaphore| drop(semaphore.acquire_many(2)),
            |semaphore: &Semaphore| drop(semaphore.acquire()),
            |semaphore: &Semaphore| drop(semaphore.acquire()),
        ],
        |semaphore| assert_eq!(semaphore.available_permits(), 2),
    );
}

#[test]
fn a_close_beside_one_who_waits_and_one_who_gives() {
    check(
        3,
        || Semaphore::new(0),
        &[
            |semaphore: &Semaphore| {
                if let Ok(permit) = semaphore.acquire_unless_closed(1) {
                    permit.forget();
                    semaphore.add_permits(1);
                }
            },
            |semaphore: &Semaphore| semaphore.add_permits(1),
            Semaphore::close,
        ],
        |semaphore| {
            assert_eq!(semaphore.available_permits(), 1);
            assert!(semaphore.is_closed() && semaphore.acquire_unless_closed(1).is_err());
        },
    );
}

#[test]
fn a_close_beside_two_who_wait() {
    check(
        3,
        || Semaphore::new(1),
        &[
            |semaphore: &Semaphore| drop(semaphore.acquire_unless_closed(1)),
            |semaphore: &Semaphore| drop(semaphore.acquire_unless_closed(2)),
            Semaphore::close,
        ],
        |semaphore| assert_eq!(semaphore.available_permits(), 1),
    );
}

#[test]
fn a_close_beside_one_who_waits_and_one_who_gives_up() {
    check(
        3,
        || Semaphore::new(0),
        &[
            |semaphore: &Semaphore| assert!(semaphore.acquire_unless_closed(1).is_err()),
            |semaphore: &Semaphore| assert!(semaphore.acquire_timeout(NO_TIME).is_none()),
            Semaphore::close,
        ],
        |semaphore| assert!(semaphore.try_acquire_many(0).is_none()),
    );
}
