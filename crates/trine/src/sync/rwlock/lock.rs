//! A lock and its guards.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use crate::sync::owner::Owner;
use crate::sync::permits::Permits;
use crate::sync::queue::deadline;
use crate::task::budget;

/// The permits of a writer: as many as there can be readers.
pub(super) const ALL: u64 = u32::MAX as u64;

/// A value that many tasks may read at once, or a single task may change.
///
/// Like [`std::sync::RwLock`], with the differences of [`Mutex`](crate::sync::Mutex): a wait parks the
/// coroutine, there is no poisoning, and a task that holds the lock for writing and locks again
/// panics.
///
/// No task starves. Once a task waits, later readers and writers wait behind it, and the queue
/// advances in order. Readers next to each other in the queue go together.
///
/// So **a task that holds the lock for reading must not lock it again**: if a writer has queued in
/// between, both wait forever. Readers are not recorded, so this cannot be detected.
///
/// ```
/// use trine::{coroutine, sync::RwLock};
///
/// static PRICES: RwLock<Vec<u32>> = RwLock::new(Vec::new());
///
/// PRICES.write().extend([3, 4]);
/// let task = coroutine::spawn(|| PRICES.read().iter().sum::<u32>());
/// assert_eq!(task.join()?, 7);
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct RwLock<T: ?Sized> {
    pub(super) permits: Permits,
    /// The writer.
    pub(super) owner: Owner,
    value: UnsafeCell<T>,
}

// SAFETY: readers on several threads share `&T`, so `Sync`; a writer on any thread has `&mut T`, so
// `Send`.
unsafe impl<T: ?Sized + Send + Sync> Sync for RwLock<T> {}

// As `Mutex`.
impl<T: ?Sized> UnwindSafe for RwLock<T> {}
impl<T: ?Sized> RefUnwindSafe for RwLock<T> {}

impl<T> RwLock<T> {
    /// Makes a free lock around `value`.
    pub const fn new(value: T) -> RwLock<T> {
        RwLock { permits: Permits::new(ALL), owner: Owner::new(), value: UnsafeCell::new(value) }
    }

    /// Returns the value. The lock is owned, so it is free.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading, and waits while another task writes or waits to write.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// let lock = trine::sync::RwLock::new(5);
    /// let (a, b) = (lock.read(), lock.read());
    /// assert_eq!(*a + *b, 10);
    /// ```
    ///
    /// # Panics
    ///
    /// If the caller's task, or thread outside any task, holds the lock for writing, and no
    /// deadline ends the wait; see [`Mutex::lock`](crate::sync::Mutex::lock).
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        budget::spend();
        if !self.permits.try_take(1) {
            self.wait_for(1);
        }
        self.reading()
    }

    /// Locks for reading if that needs no wait.
    ///
    /// ```
    /// let lock = trine::sync::RwLock::new(5);
    /// let writer = lock.write();
    /// assert!(lock.try_read().is_none());
    /// # drop(writer);
    /// ```
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        budget::spend();
        self.try_read_now()
    }

    /// Locks as [`try_read`](Self::try_read), and never gives others a turn.
    fn try_read_now(&self) -> Option<RwLockReadGuard<'_, T>> {
        self.permits.try_take(1).then(|| self.reading())
    }

    /// Locks for reading, and waits for at most `duration`. A duration beyond the clock's range
    /// means no limit.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let lock = trine::sync::RwLock::new(5);
    /// let writer = lock.write();
    /// assert!(lock.read_timeout(Duration::from_millis(1)).is_none());
    /// # drop(writer);
    /// ```
    ///
    /// # Panics
    ///
    /// The same as [`read`](Self::read), if the wait has no limit.
    #[track_caller]
    pub fn read_timeout(&self, duration: Duration) -> Option<RwLockReadGuard<'_, T>> {
        self.take_in_time(1, duration).then(|| self.reading())
    }

    /// Locks for writing, and waits while others read or write.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// let lock = trine::sync::RwLock::new(vec![1]);
    /// lock.write().push(2);
    /// assert_eq!(*lock.read(), [1, 2]);
    /// ```
    ///
    /// # Panics
    ///
    /// If the caller's task, or thread outside any task, holds the lock for writing, and no
    /// deadline ends the wait; see [`Mutex::lock`](crate::sync::Mutex::lock).
    #[inline]
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        budget::spend();
        if !self.permits.take_all(ALL) {
            self.wait_for(ALL);
        }
        self.writing()
    }

    /// Locks for writing if that needs no wait.
    ///
    /// ```
    /// let lock = trine::sync::RwLock::new(5);
    /// let reader = lock.read();
    /// assert!(lock.try_write().is_none());
    /// # drop(reader);
    /// ```
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        budget::spend();
        self.permits.try_take(ALL).then(|| self.writing())
    }

    /// Locks for writing, and waits for at most `duration`. A duration beyond the clock's range
    /// means no limit.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let lock = trine::sync::RwLock::new(5);
    /// let reader = lock.read();
    /// assert!(lock.write_timeout(Duration::from_millis(1)).is_none());
    /// # drop(reader);
    /// ```
    ///
    /// # Panics
    ///
    /// The same as [`write`](Self::write), if the wait has no limit.
    #[track_caller]
    pub fn write_timeout(&self, duration: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        self.take_in_time(ALL, duration).then(|| self.writing())
    }

    /// Returns true if the lock is held at the moment, for reading or writing. For reports and
    /// assertions, like [`Mutex::is_locked`](crate::sync::Mutex::is_locked).
    ///
    /// ```
    /// let lock = trine::sync::RwLock::new(5);
    /// let reader = lock.read();
    /// assert!(lock.is_locked() && !lock.is_locked_exclusive());
    /// # drop(reader);
    /// ```
    pub fn is_locked(&self) -> bool {
        budget::spend();
        self.permits.available() < ALL
    }

    /// Returns true if the lock is held for writing at the moment.
    ///
    /// ```
    /// let lock = trine::sync::RwLock::new(5);
    /// let writer = lock.write();
    /// assert!(lock.is_locked_exclusive());
    /// # drop(writer);
    /// ```
    pub fn is_locked_exclusive(&self) -> bool {
        budget::spend();
        self.permits.available() == 0
    }

    /// Borrows the value without locking: the exclusive borrow excludes all guards.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[cold]
    #[track_caller]
    fn wait_for(&self, permits: u64) {
        self.owner.panic_if_held_by_caller("the lock");
        self.permits.wait_and_take(permits, None);
    }

    #[track_caller]
    fn take_in_time(&self, permits: u64, duration: Duration) -> bool {
        budget::spend();
        if self.permits.try_take(permits) {
            return true;
        }
        let deadline = deadline(duration);
        if deadline.is_none() {
            self.wait_for(permits);
        }
        deadline.is_none() || self.permits.wait_and_take(permits, deadline)
    }

    #[inline(always)]
    fn reading(&self) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard { lock: self, _not_send: PhantomData }
    }

    #[inline(always)]
    fn writing(&self) -> RwLockWriteGuard<'_, T> {
        self.owner.set();
        RwLockWriteGuard { lock: self, _not_send: PhantomData }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    /// Shows the value, or `<locked>`; does not wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RwLock");
        match self.try_read_now() {
            Some(guard) => shown.field("data", &&*guard),
            None => shown.field("data", &format_args!("<locked>")),
        };
        shown.finish()
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

/// Holds an [`RwLock`] for reading. Unlocks when dropped, also by a panic or a cancellation. Not
/// `Send`, like [`MutexGuard`](crate::sync::MutexGuard).
#[must_use = "a guard that is not kept unlocks at once"]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    pub(super) lock: &'a RwLock<T>,
    _not_send: PhantomData<*const ()>,
}

/// Holds an [`RwLock`] for writing. Unlocks when dropped, also by a panic or a cancellation. Not
/// `Send`, like [`MutexGuard`](crate::sync::MutexGuard).
#[must_use = "a guard that is not kept unlocks at once"]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    pub(super) lock: &'a RwLock<T>,
    _not_send: PhantomData<*const ()>,
}

impl<'a, T: ?Sized> RwLockWriteGuard<'a, T> {
    /// Turns the guard into one for reading, without unlocking: no other task writes in between.
    /// Waiting readers at the head of the queue go on beside the caller.
    ///
    /// An associated function, since a method would hide one of the value's.
    ///
    /// ```
    /// use trine::sync::{RwLock, RwLockWriteGuard};
    ///
    /// let lock = RwLock::new(1);
    /// let mut writer = lock.write();
    /// *writer = 2;
    /// let reader = RwLockWriteGuard::downgrade(writer);
    /// assert_eq!(*reader + *lock.read(), 4);
    /// # drop(reader);
    /// ```
    pub fn downgrade(s: Self) -> RwLockReadGuard<'a, T> {
        let lock = ManuallyDrop::new(s).lock;
        lock.owner.clear();
        lock.permits.give(ALL - 1);
        lock.reading()
    }
}

// SAFETY: a shared guard gives `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for RwLockReadGuard<'_, T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized + Sync> Sync for RwLockWriteGuard<'_, T> {}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds a permit: there is no writer, which would hold all.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds all permits, so there is no other guard.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T: ?Sized> Drop for RwLockReadGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.permits.give(1);
    }
}

impl<T: ?Sized> Drop for RwLockWriteGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.owner.clear();
        self.lock.permits.give_all(ALL);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for RwLockWriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
