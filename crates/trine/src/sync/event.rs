//! An event: a level that many wait for.

use std::fmt;
use std::time::{Duration, Instant};

use super::atomic::{AtomicBool, Ordering};
use super::queue::{WaitQueue, Waiter, deadline};
use crate::task::budget;

/// An event that has happened, or has not yet: set and reset any number of times, waited for by any
/// number of tasks.
///
/// The writes before [`set`](Self::set) are visible to all tasks whose wait it ends.
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
    /// Makes an event that is not set.
    pub const fn new() -> Event {
        Event { set: AtomicBool::new(false), queue: WaitQueue::new() }
    }

    /// Sets it, which ends all waits, even if it is reset before the waiters look.
    ///
    /// ```
    /// let event = trine::sync::Event::new();
    /// event.set();
    /// assert!(event.is_set());
    /// event.wait(); // returns at once
    /// ```
    pub fn set(&self) {
        let list = self.queue.lock();
        self.set.store(true, Ordering::Release);
        self.queue.wake_all(list);
    }

    /// Resets it: later waits wait for the next [`set`](Self::set).
    ///
    /// ```
    /// let event = trine::sync::Event::new();
    /// event.set();
    /// event.reset();
    /// assert!(!event.is_set());
    /// ```
    pub fn reset(&self) {
        self.set.store(false, Ordering::Relaxed);
    }

    /// Returns true if it is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        budget::spend();
        self.is_on()
    }

    #[inline(always)]
    fn is_on(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// Waits until it is set. Returns at once if it is.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    #[inline]
    pub fn wait(&self) {
        if !self.is_set() {
            self.wait_until(None);
        }
    }

    /// Waits until it is set, for at most `duration`. Returns true if it was set. A duration beyond
    /// the clock's range means no limit.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let event = trine::sync::Event::new();
    /// assert!(!event.wait_timeout(Duration::from_millis(1)));
    /// event.set();
    /// assert!(event.wait_timeout(Duration::ZERO));
    /// ```
    pub fn wait_timeout(&self, duration: Duration) -> bool {
        self.is_set() || self.wait_until(deadline(duration))
    }

    #[cold]
    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let waiter = Waiter::new(0);
        let list = self.queue.lock();
        // A `set` from here on finds this waiter.
        if self.is_on() {
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
        f.debug_struct("Event").field("set", &self.is_on()).finish()
    }
}
