//! Waits for the tasks of a scope before its end: a server that drains.

use std::time::{Duration, Instant};

use super::Scope;
use super::shared::Shared;
use crate::task::wait;

impl Scope<'_, '_> {
    /// Waits until no task of the scope is left, also of those that are started meanwhile. The
    /// scope itself does so at its end; this call is for what is to be done before.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    ///
    /// let done = AtomicU32::new(0);
    /// let seen = trine::scope(|s| {
    ///     for _ in 0..10 {
    ///         s.coroutine(|| done.fetch_add(1, Relaxed));
    ///     }
    ///     s.join_all();
    ///     done.load(Relaxed)
    /// })?;
    /// assert_eq!(seen, 10);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// Failures are those of the scope: under [`scope`](super::scope()), the first one ends this
    /// wait too. A task of the scope that calls it waits for itself, so without end.
    pub fn join_all(&self) {
        self.shared().wait_until_idle(None);
    }

    /// Waits as [`join_all`](Scope::join_all) does, for at most `timeout`. Returns true if no task
    /// is left. Zero only looks; a timeout beyond the clock's range means no limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::time;
    ///
    /// let ended = trine::scope(|s| {
    ///     let stuck = s.coroutine(|| time::sleep(Duration::MAX));
    ///     if !s.join_all_timeout(Duration::from_millis(20)) {
    ///         s.cancel_because("the time to drain is up");
    ///     }
    ///     stuck.join()
    /// })?;
    /// assert!(ended.unwrap_err().is_cancelled());
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn join_all_timeout(&self, timeout: Duration) -> bool {
        let deadline = match timeout {
            Duration::ZERO => return self.shared().is_idle(),
            _ => Instant::now().checked_add(timeout),
        };
        self.shared().wait_until_idle(deadline)
    }
}

impl Shared {
    /// Waits until no member is left, or until `deadline`. Returns true if none is left.
    fn wait_until_idle(&self, deadline: Option<Instant>) -> bool {
        // Taken out of the list however the wait ends.
        let mut watcher = None;
        loop {
            if self.is_idle() {
                return true;
            }
            if deadline.is_some_and(|end| end <= Instant::now()) {
                return false;
            }
            if watcher.is_none() {
                watcher = Some(self.watch());
                continue;
            }
            wait::or_unwind_unless(deadline, || self.is_idle());
        }
    }
}
