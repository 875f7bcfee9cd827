//! A condition variable: waits for a change of a mutex's value.

use std::fmt;
use std::time::{Duration, Instant};

use super::mutex::MutexGuard;
use super::queue::{Queued, WaitQueue, Waiter, deadline, expired};

/// Lets a task that holds a [`Mutex`](super::Mutex) wait, without the lock, for a change of the
/// value; like [`std::sync::Condvar`].
///
/// A wait may end without a notification, so check the value again, or let
/// [`wait_while`](Self::wait_while) do it.
///
/// A notification is not lost if the task that it has woken is cancelled at the same time: it is
/// passed on to the next waiter.
///
/// ```
/// use std::collections::VecDeque;
/// use trine::{coroutine, sync::{Condvar, Mutex}};
///
/// static JOBS: Mutex<VecDeque<u32>> = Mutex::new(VecDeque::new());
/// static ADDED: Condvar = Condvar::new();
///
/// let task = coroutine::spawn(|| {
///     let mut jobs = ADDED.wait_while(JOBS.lock(), |jobs| jobs.is_empty());
///     jobs.pop_front()
/// });
/// JOBS.lock().push_back(7);
/// ADDED.notify_one();
/// assert_eq!(task.join()?, Some(7));
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct Condvar {
    queue: WaitQueue,
}

/// The result of a wait with a time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Returns true if the time was up.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// Makes a condition without waiters.
    pub const fn new() -> Condvar {
        Condvar { queue: WaitQueue::new() }
    }

    /// Unlocks, waits for a notification, and locks again.
    ///
    /// A notification that comes after the unlocking is not missed. If the task is cancelled while
    /// it waits, for the notification or for the lock, it unwinds without the lock.
    ///
    /// ```
    /// use trine::{coroutine, sync::{Condvar, Mutex}};
    ///
    /// static OPEN: Mutex<bool> = Mutex::new(false);
    /// static CHANGED: Condvar = Condvar::new();
    ///
    /// let task = coroutine::spawn(|| {
    ///     let mut open = OPEN.lock();
    ///     while !*open {
    ///         open = CHANGED.wait(open);
    ///     }
    /// });
    /// *OPEN.lock() = true;
    /// CHANGED.notify_all();
    /// task.join()?;
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until(guard, None).0
    }

    /// Waits as long as `condition` holds of the value, which it may change.
    pub fn wait_while<'a, T: ?Sized, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: F,
    ) -> MutexGuard<'a, T>
    where
        F: FnMut(&mut T) -> bool,
    {
        while condition(&mut *guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// Does the same as [`wait`](Self::wait), for at most `duration`. The time to lock again comes
    /// on top. A duration beyond the clock's range means no limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::sync::{Condvar, Mutex};
    ///
    /// let (value, changed) = (Mutex::new(0), Condvar::new());
    /// let (guard, result) = changed.wait_timeout(value.lock(), Duration::from_millis(1));
    /// assert!(result.timed_out() && *guard == 0);
    /// ```
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        duration: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        self.wait_until(guard, deadline(duration))
    }

    /// Does the same as [`wait_while`](Self::wait_while), for at most `duration`. It has timed out
    /// if the condition still holds then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::sync::{Condvar, Mutex};
    ///
    /// let (value, changed) = (Mutex::new(0), Condvar::new());
    /// let limit = Duration::from_millis(1);
    /// let (_, result) = changed.wait_timeout_while(value.lock(), limit, |value| *value == 0);
    /// assert!(result.timed_out());
    /// ```
    pub fn wait_timeout_while<'a, T: ?Sized, F>(
        &self,
        mut guard: MutexGuard<'a, T>,
        duration: Duration,
        mut condition: F,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult)
    where
        F: FnMut(&mut T) -> bool,
    {
        let deadline = deadline(duration);
        loop {
            if !condition(&mut *guard) {
                return (guard, WaitTimeoutResult(false));
            }
            if expired(deadline) {
                return (guard, WaitTimeoutResult(true));
            }
            guard = self.wait_until(guard, deadline).0;
        }
    }

    /// Wakes the longest-waiting task. Returns false if no task waits: the notification is not kept
    /// for later.
    ///
    /// ```
    /// use trine::sync::Condvar;
    ///
    /// assert!(!Condvar::new().notify_one());
    /// ```
    pub fn notify_one(&self) -> bool {
        self.queue.wake_one()
    }

    /// Wakes all tasks that wait. Returns the number of those that it has woken.
    ///
    /// ```
    /// use trine::sync::Condvar;
    ///
    /// assert_eq!(Condvar::new().notify_all(), 0);
    /// ```
    pub fn notify_all(&self) -> usize {
        self.queue.wake_all(self.queue.lock())
    }

    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let mutex = guard.mutex();
        let waiter = Waiter::new(0);
        // SAFETY: a new node, and `waiting`, which holds the result, is dropped before it, whatever
        // happens.
        let queued = unsafe { self.queue.join(self.queue.lock(), &waiter) };
        let waiting = Waiting { condvar: self, queued: Some(queued) };
        // From here on every notification finds this waiter.
        drop(guard);
        waiter.wait(deadline);
        let guard = mutex.lock();
        // A notification that came after the time was up ends the wait all the same: it woke no
        // other.
        let notified = waiting.leave();
        (guard, WaitTimeoutResult(!notified))
    }
}

/// A wait. If it is cancelled, even while it waits for the lock, its notification is passed on.
struct Waiting<'a> {
    condvar: &'a Condvar,
    queued: Option<Queued<'a>>,
}

impl Waiting<'_> {
    /// Ends the wait. Returns true if it was notified.
    fn leave(mut self) -> bool {
        self.queued.take().is_some_and(|queued| !queued.leave())
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.queued.take().is_some_and(|queued| !queued.leave()) {
            self.condvar.notify_one();
        }
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").finish_non_exhaustive()
    }
}
