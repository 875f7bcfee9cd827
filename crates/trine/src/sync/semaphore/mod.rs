//! A semaphore: a number of permits.

use std::fmt;
use std::mem;
use std::time::Duration;

use super::permits::{self, Permits};
use super::queue::deadline;
use crate::task::budget;

/// A number of permits, for an operation that may run so many times at once.
///
/// A permit is given back when its [`SemaphorePermit`] is dropped, also by a panic or a
/// cancellation. Waiting tasks get permits in the order in which they came. Free permits may be
/// taken past them while they wake up, but only a bounded number of times.
///
/// ```
/// use trine::{coroutine, sync::Semaphore};
///
/// static CONNECTIONS: Semaphore = Semaphore::new(2);
///
/// let tasks: Vec<_> = (0..10)
///     .map(|_| coroutine::spawn(|| {
///         let _connection = CONNECTIONS.acquire();
///         // At most two coroutines are here.
///     }))
///     .collect();
/// for task in tasks {
///     task.join()?;
/// }
/// assert_eq!(CONNECTIONS.available_permits(), 2);
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// A semaphore may begin without permits, and get them by [`add_permits`](Self::add_permits).
///
/// ```
/// use trine::{sync::Semaphore, thread};
///
/// static ARRIVED: Semaphore = Semaphore::new(0);
///
/// let task = thread::spawn(|| ARRIVED.add_permits(3));
/// ARRIVED.acquire_many(3).forget();
/// task.join()?;
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct Semaphore {
    permits: Permits,
}

impl Semaphore {
    /// The largest number of permits, free or taken, that a semaphore may have: 2⁴⁸ - 1.
    pub const MAX_PERMITS: usize = permits::MAX as usize;

    /// Makes a semaphore of `permits` permits, which may be 0.
    ///
    /// # Panics
    ///
    /// If `permits` is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    pub const fn new(permits: usize) -> Semaphore {
        assert!(
            permits <= Semaphore::MAX_PERMITS,
            "a semaphore has at most Semaphore::MAX_PERMITS permits: begin with fewer"
        );
        Semaphore { permits: Permits::new(permits as u64) }
    }

    /// Takes one permit, and waits for it.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    #[inline]
    pub fn acquire(&self) -> SemaphorePermit<'_> {
        self.acquire_many(1)
    }

    /// Takes `n` permits at once, and waits until so many are free. For 0 it never waits.
    ///
    /// `n` may exceed the semaphore's permits: [`add_permits`](Self::add_permits) can bring more.
    /// Later callers wait behind.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// let slots = trine::sync::Semaphore::new(5);
    /// let three = slots.acquire_many(3);
    /// assert_eq!((three.permits(), slots.available_permits()), (3, 2));
    /// ```
    ///
    /// # Panics
    ///
    /// If `n` is more than [`MAX_PERMITS`](Self::MAX_PERMITS): so many can never be free.
    #[inline]
    #[track_caller]
    pub fn acquire_many(&self, n: usize) -> SemaphorePermit<'_> {
        let wanted = checked(n);
        budget::spend();
        if !self.permits.try_take(wanted) && n != 0 {
            self.permits.wait_and_take(wanted, None);
        }
        SemaphorePermit { semaphore: self, n }
    }

    /// Takes one permit, and waits for at most `duration`. `None` if none came in that time. A
    /// duration beyond the clock's range means no limit.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let slots = trine::sync::Semaphore::new(0);
    /// assert!(slots.acquire_timeout(Duration::from_millis(1)).is_none());
    /// ```
    pub fn acquire_timeout(&self, duration: Duration) -> Option<SemaphorePermit<'_>> {
        self.acquire_many_timeout(1, duration)
    }

    /// Takes `n` permits at once, and waits for at most `duration`; see
    /// [`acquire_timeout`](Self::acquire_timeout).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let slots = trine::sync::Semaphore::new(2);
    /// assert!(slots.acquire_many_timeout(3, Duration::from_millis(1)).is_none());
    /// assert_eq!(slots.available_permits(), 2);
    /// ```
    ///
    /// # Panics
    ///
    /// The same as [`acquire_many`](Self::acquire_many).
    #[track_caller]
    pub fn acquire_many_timeout(
        &self,
        n: usize,
        duration: Duration,
    ) -> Option<SemaphorePermit<'_>> {
        let wanted = checked(n);
        budget::spend();
        let taken = n == 0
            || self.permits.try_take(wanted)
            || self.permits.wait_and_take(wanted, deadline(duration));
        taken.then(|| SemaphorePermit { semaphore: self, n })
    }

    /// Takes one permit if that needs no wait. `None` if none is free, or if the free ones are kept
    /// for a task that waits.
    ///
    /// ```
    /// let slots = trine::sync::Semaphore::new(1);
    /// let first = slots.try_acquire().unwrap();
    /// assert!(slots.try_acquire().is_none());
    /// # drop(first);
    /// ```
    #[inline]
    pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
        self.try_acquire_many(1)
    }

    /// Takes `n` permits at once if that needs no wait; see [`try_acquire`](Self::try_acquire).
    ///
    /// ```
    /// let slots = trine::sync::Semaphore::new(2);
    /// assert!(slots.try_acquire_many(3).is_none());
    /// assert_eq!(slots.try_acquire_many(2).unwrap().permits(), 2);
    /// ```
    ///
    /// # Panics
    ///
    /// The same as [`acquire_many`](Self::acquire_many).
    #[inline]
    #[track_caller]
    pub fn try_acquire_many(&self, n: usize) -> Option<SemaphorePermit<'_>> {
        let wanted = checked(n);
        budget::spend();
        let taken = self.permits.try_take(wanted) || n == 0;
        taken.then(|| SemaphorePermit { semaphore: self, n })
    }

    /// Adds `n` permits permanently.
    ///
    /// ```
    /// let slots = trine::sync::Semaphore::new(0);
    /// slots.add_permits(2);
    /// assert_eq!(slots.available_permits(), 2);
    /// ```
    ///
    /// # Panics
    ///
    /// If more than [`MAX_PERMITS`](Self::MAX_PERMITS) would be free.
    #[track_caller]
    pub fn add_permits(&self, n: usize) {
        let sum = (self.permits.available() as usize).checked_add(n);
        assert!(
            sum.is_some_and(|sum| sum <= Semaphore::MAX_PERMITS),
            "a semaphore has at most Semaphore::MAX_PERMITS permits, and {n} more would be too \
             many: look for a place that adds what it did not forget"
        );
        self.permits.give(n as u64);
    }

    /// Returns the number of permits that are free at the moment.
    pub fn available_permits(&self) -> usize {
        budget::spend();
        self.permits.available() as usize
    }
}

#[inline]
#[track_caller]
fn checked(n: usize) -> u64 {
    assert!(
        n <= Semaphore::MAX_PERMITS,
        "{n} permits can never be there, and the wait would never end: \
         ask for at most Semaphore::MAX_PERMITS"
    );
    n as u64
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("available_permits", &self.permits.available()).finish()
    }
}

/// Permits taken of a [`Semaphore`], given back when dropped. They may be sent to another task,
/// which gives them back.
///
/// ```
/// use trine::{coroutine, sync::Semaphore};
///
/// static SLOTS: Semaphore = Semaphore::new(1);
/// let permit = SLOTS.acquire();
/// coroutine::spawn(move || drop(permit)).join()?;
/// assert_eq!(SLOTS.available_permits(), 1);
/// # Ok::<(), trine::TaskError>(())
/// ```
#[must_use = "a permit that is not kept is given back at once"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    n: usize,
}

impl SemaphorePermit<'_> {
    /// Keeps the permits from the semaphore permanently, or until
    /// [`add_permits`](Semaphore::add_permits) brings them back.
    ///
    /// ```
    /// let slots = trine::sync::Semaphore::new(2);
    /// slots.acquire().forget();
    /// assert_eq!(slots.available_permits(), 1);
    /// ```
    pub fn forget(self) {
        mem::forget(self);
    }

    /// Returns the number of these permits.
    ///
    /// ```
    /// let slots = trine::sync::Semaphore::new(5);
    /// let three = slots.acquire_many(3);
    /// assert_eq!((three.permits(), slots.available_permits()), (3, 2));
    /// ```
    pub fn permits(&self) -> usize {
        self.n
    }
}

impl Drop for SemaphorePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.permits.give(self.n as u64);
    }
}

impl fmt::Debug for SemaphorePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphorePermit").field("permits", &self.n).finish()
    }
}
