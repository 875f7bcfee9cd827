//! Waits until what a mutex protects has changed.

use std::fmt;
use std::time::{Duration, Instant};

use super::mutex::MutexGuard;
use super::queue::{Queued, WaitQueue, Waiter, deadline, expired};

/// Lets those who hold a [`Mutex`](super::Mutex) wait, without it, for a change of its value; as
/// [`std::sync::Condvar`].
///
/// A wait may end without a notification, so look at the value again, or let
/// [`wait_while`](Self::wait_while) do it.
///
/// A notification is not lost when the one it has woken is cancelled at the same time: it is passed
/// on to the next.
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

/// Whether a wait with a time limit has ended by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitTimeoutResult(bool);

impl WaitTimeoutResult {
    /// Whether the time was up.
    pub fn timed_out(&self) -> bool {
        self.0
    }
}

impl Condvar {
    /// A condition that nobody waits for.
    pub const fn new() -> Condvar {
        Condvar { queue: WaitQueue::new() }
    }

    /// Unlocks, waits for a notification, and locks again.
    ///
    /// A notification that comes after the unlocking is not missed. If the task is cancelled while it
    /// waits, for the notification or for the lock, it unwinds without the lock.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until(guard, None).0
    }

    /// Waits for as long as `condition` holds of the value, which it may change.
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

    /// As [`wait`](Self::wait), for at most `duration`. The time to lock again comes on top of it. A
    /// duration beyond what the clock can count waits for good.
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        duration: Duration,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        self.wait_until(guard, deadline(duration))
    }

    /// As [`wait_while`](Self::wait_while), for at most `duration`: it has timed out if the condition
    /// still holds then.
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

    /// Wakes the one who has waited longest, if anybody waits. The notification is not kept for later.
    pub fn notify_one(&self) {
        self.queue.wake_one();
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.queue.wake_all(self.queue.lock());
    }

    fn wait_until<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
        let mutex = guard.mutex();
        let waiter = Waiter::new(0);
        // SAFETY: a new node, and `place`, which holds the result, is dropped before it, whatever
        // happens.
        let queued = unsafe { self.queue.join(self.queue.lock(), &waiter) };
        let place = Place { condvar: self, queued: Some(queued) };
        // From here on every notification finds this waiter.
        drop(guard);
        waiter.wait(deadline);
        let guard = mutex.lock();
        // One that came after the time was up has ended the wait all the same: it woke nobody else.
        let notified = place.leave();
        (guard, WaitTimeoutResult(!notified))
    }
}

/// One who waits; cancelled, even while it waits for the lock, it passes its notification on.
struct Place<'a> {
    condvar: &'a Condvar,
    queued: Option<Queued<'a>>,
}

impl Place<'_> {
    /// Ends the wait; whether it was notified.
    fn leave(mut self) -> bool {
        self.queued.take().is_some_and(|queued| !queued.leave())
    }
}

impl Drop for Place<'_> {
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
