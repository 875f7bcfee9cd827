//! A descriptor that does not block, and waits for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::entry::{Entry, Seen};
use super::large;
use crate::sys::{descriptors, poll};
use crate::task::park;

/// What a caller wants to do with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Read, receive, accept.
    Read,
    /// Write, send, connect.
    Write,
}

/// Held by whoever has a descriptor watched for the first time; one lock for every 16th descriptor.
static WATCHING: [Mutex<()>; 16] = [const { Mutex::new(()) }; 16];

/// A descriptor that does not block, or something of std around one.
#[derive(Debug)]
pub(crate) struct Source<D: AsFd = OwnedFd> {
    /// Its place in an epoll, from the first wait there on.
    entry: OnceLock<Entry>,
    /// Closed after the entry is gone.
    descriptor: D,
}

impl<D: AsFd> Source<D> {
    /// Takes `descriptor`, and makes it one that does not block.
    ///
    /// # Errors
    ///
    /// If the descriptor is not open.
    pub(crate) fn new(descriptor: D) -> io::Result<Source<D>> {
        descriptors::set_blocking(descriptor.as_fd(), false)?;
        Ok(Source::of_nonblocking(descriptor))
    }

    /// Takes a descriptor that was made so that it does not block.
    pub(crate) fn of_nonblocking(descriptor: D) -> Source<D> {
        Source { entry: OnceLock::new(), descriptor }
    }

    /// What it was made of. Reading and writing go through the calls below.
    pub(crate) fn get(&self) -> &D {
        &self.descriptor
    }

    /// Gives the descriptor back as it is.
    pub(crate) fn release(self) -> D {
        self.descriptor
    }

    /// Gives the descriptor back, as one that blocks: what the rest of the world expects.
    pub(crate) fn into_inner(self) -> D {
        drop(self.entry);
        // The one way to fail is a descriptor that is closed already.
        let _ = descriptors::set_blocking(self.descriptor.as_fd(), true);
        self.descriptor
    }

    /// Calls `attempt` until it says something other than `WouldBlock`, and waits in between until
    /// the descriptor may be ready, for `timeout` in all.
    ///
    /// # Errors
    ///
    /// What `attempt` says; `TimedOut` after `timeout`; what ends a wait from outside
    /// ([`Interrupted`](crate::Interrupted)).
    #[inline]
    pub(crate) fn retry<T>(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
        attempt: impl FnMut(&D) -> io::Result<T>,
    ) -> io::Result<T> {
        self.retry_and(direction, timeout, attempt, |_, _| {})
    }

    /// As [`retry`](Self::retry), for reading at most `most` bytes of a stream: sockets that keep no
    /// bounds between messages, pipes. If it takes less, the next read waits first.
    ///
    /// # Errors
    ///
    /// As `retry`.
    #[inline]
    pub(crate) fn read_stream(
        &self,
        most: usize,
        timeout: Option<Duration>,
        attempt: impl FnMut(&D) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.retry_and(Direction::Read, timeout, attempt, |&count, seen| {
            if 0 < count && count < most {
                self.drained(seen);
            }
        })
    }

    /// `retry`; a value of `attempt` is shown to `then`, with what was known before.
    #[inline]
    fn retry_and<T>(
        &self,
        direction: Direction,
        timeout: Option<Duration>,
        mut attempt: impl FnMut(&D) -> io::Result<T>,
        then: impl FnOnce(&T, Seen),
    ) -> io::Result<T> {
        let mut deadline = None;
        let mut waited = false;
        loop {
            let seen = self.seen();
            if waited || seen.may_be_ready(direction) {
                match attempt(&self.descriptor) {
                    Ok(value) => {
                        then(&value, seen);
                        return Ok(value);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.refuted(seen, direction);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            }
            if deadline.is_none() {
                deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            }
            self.wait(direction, deadline)?;
            waited = true;
        }
    }

    /// Waits until the descriptor may be ready.
    ///
    /// # Errors
    ///
    /// `TimedOut` at `deadline`; what ends a wait from outside; no room for one more watched descriptor.
    pub(crate) fn wait(&self, direction: Direction, deadline: Option<Instant>) -> io::Result<()> {
        if park::is_plain_thread() {
            let interest = match direction {
                Direction::Read => poll::Interest::Read,
                Direction::Write => poll::Interest::Write,
            };
            park::wait_for(self.descriptor.as_fd(), interest, deadline)?;
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            return Ok(());
        }
        self.entry()?.wait(direction, deadline)
    }

    /// As [`retry`](Self::retry), for a future: `Pending` leaves the waker of `cx`, one for each direction.
    pub(crate) fn poll_retry<T>(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&D) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        let entry = self.entry()?;
        loop {
            if !entry.register(direction, cx) {
                return Poll::Pending;
            }
            let seen = self.seen();
            match attempt(&self.descriptor) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.refuted(seen, direction);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// A read after `seen` has taken all there was.
    #[inline]
    fn drained(&self, seen: Seen) {
        if let Some(entry) = self.entry.get() {
            entry.drained(seen);
        }
    }

    /// What is known of the descriptor.
    #[inline]
    fn seen(&self) -> Seen {
        self.entry.get().map_or(Seen::NOTHING, Entry::seen)
    }

    #[inline]
    fn refuted(&self, seen: Seen, direction: Direction) {
        if let Some(entry) = self.entry.get() {
            entry.refuted(seen, direction);
        }
    }

    fn entry(&self) -> io::Result<&Entry> {
        if let Some(entry) = self.entry.get() {
            return Ok(entry);
        }
        // An epoll takes a descriptor once, so of several callers one has to be the first.
        let number = self.descriptor.as_fd().as_raw_fd().unsigned_abs() as usize;
        let _first =
            WATCHING[number % WATCHING.len()].lock().unwrap_or_else(PoisonError::into_inner);
        match self.entry.get() {
            Some(entry) => Ok(entry),
            None => {
                let entry = large::watch(self.descriptor.as_fd())?;
                Ok(self.entry.get_or_init(|| entry))
            }
        }
    }
}

impl<D: AsFd> AsFd for Source<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
