//! A mutex and its guard.

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use crate::sync::owner::Owner;
use crate::sync::permits::Permits;
use crate::sync::queue::deadline;
use crate::task::budget;

/// A value that one task or thread at a time may touch.
///
/// Like [`std::sync::Mutex`], with these differences:
///
/// - A wait parks the coroutine, not its thread, and the guard may be held across any wait.
/// - **There is no poisoning.** A guard that is dropped by a panic, or because its task is
///   cancelled, just unlocks. A section that can end half-way has to leave the value in order, for
///   instance by computing first and assigning last.
/// - A task that locks twice panics.
///
/// A free lock may be taken past tasks that wait, but only a bounded number of times: each waiting
/// task gets its turn.
///
/// ```
/// use trine::{coroutine, sync::Mutex, thread};
///
/// static TOTAL: Mutex<u64> = Mutex::new(0);
///
/// let a = coroutine::spawn(|| *TOTAL.lock() += 1);
/// let b = thread::spawn(|| *TOTAL.lock() += 2);
/// (a.join()?, b.join()?);
/// assert_eq!(*TOTAL.lock(), 3);
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct Mutex<T: ?Sized> {
    pub(super) permit: Permits,
    pub(super) owner: Owner,
    value: UnsafeCell<T>,
}

// SAFETY: one guard at a time reaches the value, on any thread, never two: `Send` is enough.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}

// As std's, which is poisoned by a panic in place of that: a section that can panic half-way leaves
// the value in order.
impl<T: ?Sized> UnwindSafe for Mutex<T> {}
impl<T: ?Sized> RefUnwindSafe for Mutex<T> {}

impl<T> Mutex<T> {
    /// Makes a free lock around `value`.
    pub const fn new(value: T) -> Mutex<T> {
        Mutex { permit: Permits::new(1), owner: Owner::new(), value: UnsafeCell::new(value) }
    }

    /// Returns the value. The lock is owned, so it is free.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks, and waits while others hold the lock. Unlocks when the guard is dropped.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// # Panics
    ///
    /// If the caller's task, or thread outside any task, holds the lock: it would wait for itself
    /// forever. The holder is the task that locked, even if the guard has been given to another
    /// coroutine of the same thread since.
    ///
    /// A wait that ends is no such wait. Where a deadline is in force, by
    /// [`time::timeout`](crate::time::timeout) or a limit of the task, a task that holds the lock
    /// waits until then, as in [`lock_timeout`](Self::lock_timeout). All locks keep this rule.
    ///
    /// ```
    /// let mutex = trine::sync::Mutex::new(vec![1]);
    /// mutex.lock().push(2);
    /// assert_eq!(*mutex.lock(), [1, 2]);
    /// ```
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        budget::spend();
        if !self.permit.take_all(1) {
            self.wait_to_lock();
        }
        self.locked()
    }

    /// Locks if that needs no wait. `None` if the lock is held, or kept for a task that waits.
    ///
    /// ```
    /// let mutex = trine::sync::Mutex::new(());
    /// let guard = mutex.try_lock().unwrap();
    /// assert!(mutex.try_lock().is_none());
    /// # drop(guard);
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        budget::spend();
        self.try_lock_now()
    }

    /// Locks as [`try_lock`](Self::try_lock), and never gives others a turn.
    fn try_lock_now(&self) -> Option<MutexGuard<'_, T>> {
        (self.permit.take_all(1) || self.permit.try_take(1)).then(|| self.locked())
    }

    /// Locks, and waits for at most `duration`. `None` if the lock was not free in that time. A
    /// duration beyond the clock's range means no limit.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// # Panics
    ///
    /// The same as [`lock`](Self::lock), if the wait has no limit.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let mutex = trine::sync::Mutex::new(());
    /// let guard = mutex.lock();
    /// assert!(mutex.lock_timeout(Duration::from_millis(1)).is_none());
    /// # drop(guard);
    /// ```
    #[track_caller]
    pub fn lock_timeout(&self, duration: Duration) -> Option<MutexGuard<'_, T>> {
        match self.try_lock() {
            Some(guard) => Some(guard),
            None => match deadline(duration) {
                Some(deadline) => self.lock_until(deadline),
                None => Some(self.lock()),
            },
        }
    }

    fn lock_until(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        self.permit.wait_and_take(1, Some(deadline)).then(|| self.locked())
    }

    /// Returns true if the mutex is locked at the moment. For reports and assertions: another task
    /// may lock or unlock it before the caller has looked at the answer.
    ///
    /// ```
    /// let mutex = trine::sync::Mutex::new(());
    /// let guard = mutex.lock();
    /// assert!(mutex.is_locked());
    /// drop(guard);
    /// assert!(!mutex.is_locked());
    /// ```
    pub fn is_locked(&self) -> bool {
        budget::spend();
        self.permit.available() == 0
    }

    /// Borrows the value without locking: the exclusive borrow excludes all guards.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    #[cold]
    #[track_caller]
    fn wait_to_lock(&self) {
        self.owner.panic_if_held_by_caller("the mutex");
        self.permit.wait_and_take(1, None);
    }

    /// Makes the guard of a lock that was just taken.
    #[inline(always)]
    fn locked(&self) -> MutexGuard<'_, T> {
        self.owner.set();
        MutexGuard { mutex: self, _not_send: PhantomData }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    /// Shows the value, or `<locked>`; does not wait.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Mutex");
        match self.try_lock_now() {
            Some(guard) => shown.field("data", &&*guard),
            None => shown.field("data", &format_args!("<locked>")),
        };
        shown.finish()
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

/// Holds a [`Mutex`]. Unlocks when dropped, also by a panic or a cancellation.
///
/// It is not `Send`. The lock belongs to the task that locked it, which is how a task that locks
/// twice is detected. A coroutine stays on its thread, so a guard may live across any of its waits.
/// This program would otherwise lock in one task and unlock in another:
///
/// ```compile_fail,E0277
/// static LOCK: trine::sync::Mutex<u32> = trine::sync::Mutex::new(0);
///
/// let guard = LOCK.lock();
/// trine::thread::spawn(move || drop(guard));
/// ```
///
/// It is `Sync` only if the value is. This program would otherwise change it from two threads at
/// once:
///
/// ```compile_fail,E0277
/// fn share<T: Sync>(_: T) {}
/// static LOCK: trine::sync::Mutex<std::cell::Cell<u32>> =
///     trine::sync::Mutex::new(std::cell::Cell::new(0));
///
/// share(LOCK.lock());
/// ```
#[must_use = "a guard that is not kept unlocks at once"]
pub struct MutexGuard<'a, T: ?Sized> {
    pub(super) mutex: &'a Mutex<T>,
    _not_send: PhantomData<*const ()>,
}

// SAFETY: a shared guard gives `&T` only.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    pub(crate) fn mutex(&self) -> &'a Mutex<T> {
        self.mutex
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard holds the only permit, so there is no other guard.
        unsafe { &*self.mutex.value.get() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this guard is borrowed exclusively.
        unsafe { &mut *self.mutex.value.get() }
    }
}

impl<T: ?Sized> Drop for MutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.mutex.owner.clear();
        self.mutex.permit.give_all(1);
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: ?Sized + fmt::Display> fmt::Display for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
