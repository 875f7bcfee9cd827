//! Notifications of one task or of all, with one kept for later.

use std::fmt;
use std::time::{Duration, Instant};

use super::atomic::{AtomicBool, Ordering};
use super::queue::{Notified, Queued, WaitQueue, Waiter, deadline};
use crate::task::{budget, park};

/// Notifies tasks that something has changed. One notification is kept if no task waits.
///
/// The terms are tokio's. [`notify_one`](Self::notify_one) wakes the longest-waiting task, or
/// stores a permit that the next wait takes. At most one permit is stored, so many notifications
/// before a wait end only that one. [`notify_waiters`](Self::notify_waiters) wakes all that wait
/// at that moment, and stores none.
///
/// The writes before a notification are visible to the task whose wait it ends. A task that is
/// notified by `notify_one`, and cancelled before its wait returns, passes the notification on.
///
/// ```
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
/// use trine::{coroutine, sync::Notify};
///
/// static VALUE: AtomicU32 = AtomicU32::new(0);
/// static CHANGED: Notify = Notify::new();
///
/// let task = coroutine::spawn(|| {
///     CHANGED.wait();
///     VALUE.load(Relaxed)
/// });
/// VALUE.store(42, Relaxed);
/// CHANGED.notify_one(); // kept if the coroutine has not begun to wait
/// assert_eq!(task.join()?, 42);
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct Notify {
    /// A stored notification. Set under the queue's lock, while the queue is empty.
    permit: AtomicBool,
    queue: WaitQueue,
}

impl Notify {
    /// Makes one without a stored permit.
    pub const fn new() -> Notify {
        Notify { permit: AtomicBool::new(false), queue: WaitQueue::new() }
    }

    /// Wakes the longest-waiting task, or stores a permit for the next wait. Returns true if it has
    /// woken a task.
    ///
    /// ```
    /// let changed = trine::sync::Notify::new();
    /// assert!(!changed.notify_one());
    /// changed.wait(); // takes the permit
    /// ```
    pub fn notify_one(&self) -> bool {
        loop {
            let mut list = self.queue.lock();
            // A waiter that `notify_waiters` is about to wake is woken for that call.
            let of_all = list.is_front_notified();
            let Some(waker) = list.pop() else {
                self.permit.store(true, Ordering::Release);
                return false;
            };
            drop(list);
            park::wake(waker);
            if !of_all {
                return true;
            }
        }
    }

    /// Wakes all tasks that wait at this moment. Later waits, and the stored permit, are as before.
    ///
    /// A task that looks at a condition and then calls [`wait`](Self::wait) may miss it in between:
    /// [`wait_while`](Self::wait_while) does not.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let changed = trine::sync::Notify::new();
    /// changed.notify_waiters();
    /// assert!(!changed.wait_timeout(Duration::from_millis(1)));
    /// ```
    pub fn notify_waiters(&self) {
        self.queue.wake_all(self.queue.lock());
    }

    /// Waits for a notification, or takes the stored permit.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    pub fn wait(&self) {
        budget::spend();
        if !self.take_permit() {
            self.wait_until(None);
        }
    }

    /// Waits for a notification for at most `duration`, or takes the stored permit. Returns true if
    /// it was notified. A duration beyond the clock's range means no limit.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let changed = trine::sync::Notify::new();
    /// assert!(!changed.wait_timeout(Duration::from_millis(1)));
    /// changed.notify_one();
    /// assert!(changed.wait_timeout(Duration::ZERO));
    /// ```
    pub fn wait_timeout(&self, duration: Duration) -> bool {
        budget::spend();
        self.take_permit() || self.wait_until(deadline(duration))
    }

    /// Waits as long as `condition` returns true. It is called first, and after each notification.
    ///
    /// A notification after the last call of `condition` ends the wait, also one of
    /// [`notify_waiters`](Self::notify_waiters). If the condition is false the first time, no
    /// notification is used up.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    /// use trine::{coroutine, sync::Notify};
    ///
    /// static OPEN: AtomicBool = AtomicBool::new(false);
    /// static CHANGED: Notify = Notify::new();
    ///
    /// let task = coroutine::spawn(|| CHANGED.wait_while(|| !OPEN.load(SeqCst)));
    /// OPEN.store(true, SeqCst);
    /// CHANGED.notify_waiters();
    /// task.join()?;
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn wait_while(&self, mut condition: impl FnMut() -> bool) {
        budget::spend();
        loop {
            let waiter = Waiter::new(0);
            // SAFETY: a new node, and `waiting`, which holds the place, is dropped before it.
            let mut waiting = unsafe { self.enrol(&waiter) };
            if !condition() {
                // The drop of `waiting` passes on what it was given.
                return;
            }
            if waiting.place.is_some() {
                waiter.wait(None);
            }
            waiting.end();
        }
    }

    fn take_permit(&self) -> bool {
        self.permit.load(Ordering::Relaxed) && self.permit.swap(false, Ordering::Acquire)
    }

    #[cold]
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let waiter = Waiter::new(0);
        // SAFETY: a new node, and `waiting`, which holds the place, is dropped before it.
        let mut waiting = unsafe { self.enrol(&waiter) };
        if waiting.place.is_some() {
            waiter.wait(deadline);
        }
        // A notification that came after the time was up ends the wait all the same.
        waiting.end()
    }

    /// Takes the permit, or joins the queue.
    ///
    /// # Safety
    ///
    /// `waiter` is in no list, and the result is dropped before `waiter` is moved or dropped.
    unsafe fn enrol<'a>(&'a self, waiter: &'a Waiter) -> Waiting<'a> {
        let list = self.queue.lock();
        let permit = self.take_permit();
        // SAFETY: the caller's promise.
        let place = (!permit).then(|| unsafe { self.queue.join(list, waiter) });
        Waiting { notify: self, place, permit }
    }
}

/// A wait. Ended in any other way than by [`end`](Self::end), it passes its notification on.
struct Waiting<'a> {
    notify: &'a Notify,
    place: Option<Queued<'a>>,
    /// The stored permit was taken.
    permit: bool,
}

impl Waiting<'_> {
    /// Ends the wait, and uses its notification up. Returns true if there was one.
    fn end(&mut self) -> bool {
        let notified = self.place.take().is_some_and(|place| place.end() != Notified::No);
        std::mem::replace(&mut self.permit, false) || notified
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let alone = self.place.take().is_some_and(|place| place.end() == Notified::Alone);
        if self.permit || alone {
            self.notify.notify_one();
        }
    }
}

impl Default for Notify {
    fn default() -> Notify {
        Notify::new()
    }
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permit = self.permit.load(Ordering::Relaxed);
        f.debug_struct("Notify").field("permit", &permit).finish_non_exhaustive()
    }
}
