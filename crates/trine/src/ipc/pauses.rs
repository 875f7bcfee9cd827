//! Pauses between attempts, for changes that the kernel does not report.

use std::io;
use std::time::{Duration, Instant};

use crate::task::wait;

/// Waits 1 ms, then twice as long each time, up to 16 ms.
pub(super) struct Pauses {
    next: Duration,
    deadline: Option<Instant>,
}

impl Pauses {
    pub(super) fn new(deadline: Option<Instant>) -> Pauses {
        Pauses { next: Duration::from_millis(1), deadline }
    }

    /// Waits for the next pause, at most until the deadline.
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut` at the deadline, and when the caller is interrupted.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let end = now + self.next;
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.next = (2 * self.next).min(Duration::from_millis(16));
        wait::until(self.deadline.map_or(end, |deadline| deadline.min(end)))?;
        Ok(())
    }
}
