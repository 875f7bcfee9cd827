//! Pauses between attempts, for changes that the kernel does not report.

use std::io;
use std::time::{Duration, Instant};

use crate::task::wait;

/// Pauses that double from a first length to a longest one, until a deadline.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
    deadline: Option<Instant>,
}

impl Backoff {
    /// Starts with a pause of `first`, and never makes one longer than `longest`.
    pub(crate) fn new(first: Duration, longest: Duration, deadline: Option<Instant>) -> Backoff {
        Backoff { next: first, longest, deadline }
    }

    /// Pauses from 1 ms to 16 ms: for waits in which another process may take long.
    pub(crate) fn slow(deadline: Option<Instant>) -> Backoff {
        Backoff::new(Duration::from_millis(1), Duration::from_millis(16), deadline)
    }

    /// Makes the next pause, at most until the deadline.
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut` at the deadline, and when the caller is interrupted.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let end = now + self.next;
        self.next = (2 * self.next).min(self.longest);
        wait::until(self.deadline.map_or(end, |deadline| deadline.min(end)))?;
        Ok(())
    }
}
