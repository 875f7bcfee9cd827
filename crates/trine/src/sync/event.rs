//! A level that many wait for.

use std::fmt;
use std::time::{Duration, Instant};

use super::atomic::{AtomicBool, Ordering};
use super::queue::{WaitQueue, Waiter, deadline};

/// Something that has happened, or has not yet: set once or set again, waited for by any number.
///
/// What was done before [`set`](Self::set) is seen by all whose wait it ends.
///
/// ```
/// use trine::{coroutine, sync::Event};
///
/// static READY: Event = Event::new();
///
/// let tasks: Vec<_> = (0..3).map(|_| coroutine::spawn(|| READY.wait())).collect();
/// READY.set();
/// for task in tasks {
///     task.join()?;
/// }
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct Event {
    set: AtomicBool,
    queue: WaitQueue,
}

impl Event {
    /// An event that is not set.
    pub const fn new() -> Event {
        Event { set: AtomicBool::new(false), queue: WaitQueue::new() }
    }

    /// Sets it, which ends all waits, also of those who look only after it was reset.
    pub fn set(&self) {
        let list = self.queue.lock();
        self.set.store(true, Ordering::Release);
        self.queue.wake_all(list);
    }

    /// Takes it back: later waits wait for the next [`set`](Self::set).
    pub fn reset(&self) {
        self.set.store(false, Ordering::Relaxed);
    }

    /// Whether it is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Waits until it is set; returns at once if it is.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    #[inline]
    pub fn wait(&self) {
        if !self.is_set() {
            self.wait_until(None);
        }
    }

    /// Waits until it is set, for at most `duration`; whether it was. A duration beyond what the
    /// clock can count waits for good.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    pub fn wait_timeout(&self, duration: Duration) -> bool {
        self.is_set() || self.wait_until(deadline(duration))
    }

    #[cold]
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let waiter = Waiter::new(0);
        let list = self.queue.lock();
        // Whoever sets it from here on finds this waiter.
        if self.is_set() {
            return true;
        }
        // SAFETY: a new node, and `place` is dropped before it, whatever happens.
        let place = unsafe { self.queue.join(list, &waiter) };
        waiter.wait(deadline) || !place.leave()
    }
}

impl Default for Event {
    fn default() -> Event {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).finish()
    }
}
