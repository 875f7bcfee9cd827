//! Waits for readiness alone: the caller makes its own call then.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::registration::Direction;
use super::source::{Source, is_time_up};
use crate::task::budget;

/// Waits until a descriptor is ready. Any number of them may wait at once, each in the list of the
/// descriptor's waiters; dropping it removes it.
#[derive(Debug)]
#[must_use = "a future does nothing until it is polled"]
pub(crate) struct Ready<'a, D: AsFd> {
    source: &'a Source<D>,
    direction: Direction,
    /// Its number in the list of waiters.
    number: Option<u64>,
}

impl<D: AsFd> Source<D> {
    /// Waits until the descriptor is ready. Other code may have found it not ready without this
    /// source knowing, so this asks the kernel before each wait.
    ///
    /// # Errors
    ///
    /// The same as for [`wait`](Self::wait).
    pub(crate) fn wait_ready(
        &self,
        direction: Direction,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        loop {
            let seen = self.seen();
            if self.is_ready(direction) {
                return Ok(());
            }
            self.refuted(seen, direction);
            match self.wait(direction, deadline) {
                Err(error) if is_time_up(&error) => {
                    return if self.is_ready(direction) { Ok(()) } else { Err(error) };
                }
                ended => ended?,
            }
        }
    }

    /// Waits like [`wait_ready`](Self::wait_ready), for at most `timeout`; zero only looks.
    ///
    /// # Errors
    ///
    /// The same as for [`wait`](Self::wait).
    pub(crate) fn wait_ready_for(&self, direction: Direction, timeout: Duration) -> io::Result<()> {
        if !timeout.is_zero() {
            return self.wait_ready(direction, Instant::now().checked_add(timeout));
        }
        budget::spend();
        if self.is_ready(direction) { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    /// Like [`wait_ready`](Self::wait_ready) for a future, with a waker as in
    /// [`poll_retry`](Self::poll_retry).
    pub(crate) fn poll_ready(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        // A file is always ready, and cannot be in an epoll.
        if self.is_ready(direction) {
            return Poll::Ready(Ok(()));
        }
        self.poll_retry(direction, cx, |_| match self.is_ready(direction) {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        })
    }

    /// Waits like [`wait_ready`](Self::wait_ready), as a future. Its first poll looks, and so does
    /// each later one.
    pub(crate) fn ready(&self, direction: Direction) -> Ready<'_, D> {
        Ready { source: self, direction, number: None }
    }
}

impl<D: AsFd> Future for Ready<'_, D> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if budget::spend_in_poll(context.waker()) {
            return Poll::Pending;
        }
        let (source, direction) = (self.source, self.direction);
        loop {
            let seen = source.seen();
            // Before it is registered: a file is always ready, and cannot be in an epoll.
            if source.is_ready(direction) {
                return Poll::Ready(Ok(()));
            }
            source.refuted(seen, direction);
            let waiters = source.registration()?;
            let joined = waiters.join_callers(self.number, direction, context.waker().clone());
            if joined.is_some() {
                self.number = joined;
                return Poll::Pending;
            }
        }
    }
}

impl<D: AsFd> Drop for Ready<'_, D> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.source.leave_callers(number);
        }
    }
}
