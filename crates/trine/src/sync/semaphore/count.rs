//! A semaphore, and permits that borrow it.

use std::error::Error;
use std::fmt;
use std::mem;
use std::time::Duration;

use crate::sync::permits::{self, Permits};
use crate::sync::queue::deadline;
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
///
/// [`close`](Self::close) ends it for a shutdown: tasks that wait for permits, or come to, stop.
pub struct Semaphore {
    pub(super) permits: Permits,
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
    ///
    /// # Panics
    ///
    /// If the semaphore is [closed](Self::close), before the wait or meanwhile. A task that may
    /// meet a closed semaphore calls [`acquire_unless_closed`](Self::acquire_unless_closed).
    #[inline]
    #[track_caller]
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
    /// If `n` is more than [`MAX_PERMITS`](Self::MAX_PERMITS): so many can never be free. And if
    /// the semaphore is closed, as [`acquire`](Self::acquire) does.
    #[inline]
    #[track_caller]
    pub fn acquire_many(&self, n: usize) -> SemaphorePermit<'_> {
        let wanted = checked(n);
        budget::spend();
        if !self.permits.try_take(wanted) {
            self.wait_or_panic(wanted);
        }
        SemaphorePermit { semaphore: self, n }
    }

    #[cold]
    #[track_caller]
    pub(super) fn wait_or_panic(&self, wanted: u64) {
        if self.wait(wanted).is_err() {
            panic!(
                "the semaphore is closed: call Semaphore::acquire_unless_closed where that may \
                 happen"
            );
        }
    }

    /// Takes permits that could not be taken without a wait.
    pub(super) fn wait(&self, wanted: u64) -> Result<(), AcquireError> {
        // For none there is no wait; a closed semaphore has refused them.
        let taken = match wanted {
            0 => !self.permits.is_closed(),
            _ => self.permits.wait_and_take(wanted, None),
        };
        if taken { Ok(()) } else { Err(AcquireError(())) }
    }

    /// Takes `n` permits at once as [`acquire_many`](Self::acquire_many) does, unless the semaphore
    /// is closed: in a task that goes on, or ends in good order, at a shutdown.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// use trine::{coroutine, sync::Semaphore};
    ///
    /// static SLOTS: Semaphore = Semaphore::new(0);
    ///
    /// let task = coroutine::spawn(|| match SLOTS.acquire_unless_closed(1) {
    ///     Ok(_slot) => "served",
    ///     Err(_) => "the program shuts down",
    /// });
    /// SLOTS.close();
    /// assert_eq!(task.join()?, "the program shuts down");
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// An [`AcquireError`] if the semaphore is closed, before the wait or meanwhile.
    ///
    /// # Panics
    ///
    /// If `n` is more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[track_caller]
    pub fn acquire_unless_closed(&self, n: usize) -> Result<SemaphorePermit<'_>, AcquireError> {
        let wanted = checked(n);
        budget::spend();
        if !self.permits.try_take(wanted) {
            self.wait(wanted)?;
        }
        Ok(SemaphorePermit { semaphore: self, n })
    }

    /// Closes the semaphore permanently: no more permits are taken, and all waits for some end.
    ///
    /// | call | on a closed semaphore |
    /// |---|---|
    /// | [`acquire_unless_closed`](Self::acquire_unless_closed) | returns an error |
    /// | `try_acquire…`, `acquire…_timeout` | return `None` |
    /// | [`acquire`](Self::acquire), [`acquire_many`](Self::acquire_many) | panic |
    ///
    /// Permits that were taken before stay valid, and are counted when they are given back. So
    /// the closer sees by [`available_permits`](Self::available_permits) when all have ended.
    ///
    /// ```
    /// let slots = trine::sync::Semaphore::new(1);
    /// let slot = slots.acquire();
    /// slots.close();
    /// assert!(slots.is_closed() && slots.try_acquire().is_none());
    /// drop(slot);
    /// assert_eq!(slots.available_permits(), 1);
    /// assert!(slots.acquire_unless_closed(1).is_err());
    /// ```
    pub fn close(&self) {
        self.permits.close();
    }

    /// Returns true if the semaphore is closed.
    pub fn is_closed(&self) -> bool {
        budget::spend();
        self.permits.is_closed()
    }

    /// Takes one permit, and waits for at most `duration`. `None` if none came in that time, or the
    /// semaphore is closed. A duration beyond the clock's range means no limit.
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
        let taken = self.permits.try_take(wanted)
            || match n {
                0 => !self.permits.is_closed(),
                _ => self.permits.wait_and_take(wanted, deadline(duration)),
            };
        taken.then(|| SemaphorePermit { semaphore: self, n })
    }

    /// Takes one permit if that needs no wait. `None` if none is free, if the free ones are kept
    /// for a task that waits, or if the semaphore is closed.
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
        self.try_take(n).then(|| SemaphorePermit { semaphore: self, n })
    }

    #[inline]
    #[track_caller]
    pub(super) fn try_take(&self, n: usize) -> bool {
        let wanted = checked(n);
        budget::spend();
        self.permits.try_take(wanted) || n == 0 && !self.permits.is_closed()
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
pub(super) fn checked(n: usize) -> u64 {
    assert!(
        n <= Semaphore::MAX_PERMITS,
        "{n} permits can never be there, and the wait would never end: \
         ask for at most Semaphore::MAX_PERMITS"
    );
    n as u64
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available_permits", &self.permits.available())
            .field("closed", &self.permits.is_closed())
            .finish()
    }
}

/// The error of a semaphore that is [closed](Semaphore::close).
///
/// ```
/// let slots = trine::sync::Semaphore::new(1);
/// slots.close();
/// let error = slots.acquire_unless_closed(1).unwrap_err();
/// assert_eq!(error.to_string(), "the semaphore is closed");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcquireError(());

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl Error for AcquireError {}

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
