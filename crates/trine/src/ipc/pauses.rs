//! Waiting for what nobody tells of.

use std::io;
use std::time::{Duration, Instant};

use crate::task::wait;

/// The times between looks: 1 ms, then longer, up to 16.
pub(super) struct Pauses {
    next: Duration,
    deadline: Option<Instant>,
}

impl Pauses {
    pub(super) fn new(deadline: Option<Instant>) -> Pauses {
        Pauses { next: Duration::from_millis(1), deadline }
    }

    /// # Errors
    ///
    /// `TimedOut` at the deadline; what interrupts the caller.
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
