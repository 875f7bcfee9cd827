//! A descriptor that does not block, and waits for it.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::operation::OwnRing;
use super::registration::{Entry, Seen};
use super::{budget, global, local};
use crate::sys::io::poll;
use crate::sys::io::{Blocking, socket};
use crate::sys::process::descriptors;
use crate::task::park;

/// What a caller wants to do with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Read, receive, accept.
    Read,
    /// Write, send, connect.
    Write,
}

impl Direction {
    fn interest(self) -> poll::Interest {
        match self {
            Direction::Read => poll::Interest::Read,
            Direction::Write => poll::Interest::Write,
        }
    }
}

/// Held by whoever has a descriptor watched for the first time; one lock for every 16th descriptor.
static WATCHING: [Mutex<()>; 16] = [const { Mutex::new(()) }; 16];

/// The time between two looks at a descriptor that no epoll watches.
const PAUSE: Duration = Duration::from_millis(5);

/// A descriptor that does not block, or something of std around one.
#[derive(Debug)]
pub(crate) struct Source<D: AsFd = OwnedFd> {
    /// Its place in an epoll, from the first wait there on.
    entry: OnceLock<Entry>,
    /// A hint for rings: the last receive has taken all there was.
    drained: AtomicBool,
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
        Source { entry: OnceLock::new(), drained: AtomicBool::new(false), descriptor }
    }

    /// What it was made of. Reading and writing go through the calls below.
    pub(crate) fn get(&self) -> &D {
        &self.descriptor
    }

    /// Gives the descriptor back, as one that blocks: what the rest of the world expects.
    pub(crate) fn into_inner(self) -> D {
        drop(self.entry);
        // The one way to fail is a descriptor that is closed already.
        let _ = descriptors::set_blocking(self.descriptor.as_fd(), true);
        self.descriptor
    }

    /// Gives the descriptor back as it was taken.
    pub(crate) fn release(self) -> D {
        drop(self.entry);
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

    /// Receives into `buffer` from a socket where receiving less than that has room for takes all there is.
    ///
    /// # Errors
    ///
    /// As `retry`.
    #[inline]
    pub(crate) fn receive(
        &self,
        buffer: &mut [u8],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        self.receive_and(buffer, timeout, true)
    }

    /// As [`receive`](Self::receive), where a receive may take less than there is.
    ///
    /// # Errors
    ///
    /// As `retry`.
    #[inline]
    pub(crate) fn receive_piece(
        &self,
        buffer: &mut [u8],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        self.receive_and(buffer, timeout, false)
    }

    #[inline]
    fn receive_and(
        &self,
        buffer: &mut [u8],
        timeout: Option<Duration>,
        less_is_all: bool,
    ) -> io::Result<usize> {
        let most = buffer.len();
        let mut attempt = |descriptor: &D| socket::receive(descriptor, buffer, Blocking::No);
        let count = match OwnRing::of_caller().filter(|_| most > 0) {
            None if less_is_all => self.read_stream(most, timeout, attempt)?,
            None => self.retry(Direction::Read, timeout, attempt)?,
            Some(ring) => {
                let known = self.drained.load(Relaxed);
                let attempted =
                    if known { None } else { unless_blocked(attempt(&self.descriptor))? };
                match attempted {
                    Some(count) => {
                        budget::count_call();
                        count
                    }
                    None => {
                        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
                        ring.receive(self.descriptor.as_fd(), buffer, until)?
                    }
                }
            }
        };
        self.drained.store(0 < count && count < most, Relaxed);
        Ok(count)
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
        let mut late = None;
        loop {
            let seen = self.seen();
            if waited || seen.may_be_ready(direction) {
                match attempt(&self.descriptor) {
                    Ok(value) => {
                        then(&value, seen);
                        if !waited {
                            budget::count_call();
                        }
                        return Ok(value);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.refuted(seen, direction);
                        if let Some(late) = late {
                            return Err(late);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            }
            if deadline.is_none() {
                deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
            }
            match self.wait(direction, deadline) {
                // Once more: the news may be what was late. (One from outside holds why it ended.)
                Err(error) if is_time_up(&error) => late = Some(error),
                ended => ended?,
            }
            waited = true;
        }
    }

    /// Waits until the descriptor may be ready.
    ///
    /// # Errors
    ///
    /// `TimedOut` at `deadline`; what ends a wait from outside; no room for one more watched descriptor.
    pub(crate) fn wait(&self, direction: Direction, deadline: Option<Instant>) -> io::Result<()> {
        let interest = direction.interest();
        if park::is_plain_thread() {
            park::wait_for(self.descriptor.as_fd(), interest, deadline)?;
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            return Ok(());
        }
        match self.entry() {
            Ok(entry) => entry.wait(direction, deadline),
            Err(error) if descriptors::is_limit_met(&error) => pause(&error, deadline),
            Err(error) => Err(error),
        }
    }

    /// Waits until the descriptor is ready, by whatever way its reader or writer came to know that it
    /// was not: so the kernel is asked before each wait.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
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

    /// As [`wait_ready`](Self::wait_ready), for a future; as [`poll_retry`](Self::poll_retry).
    pub(crate) fn poll_ready(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        // What is always ready, a file, is in no epoll.
        if self.is_ready(direction) {
            return Poll::Ready(Ok(()));
        }
        self.poll_retry(direction, cx, |_| match self.is_ready(direction) {
            true => Ok(()),
            false => Err(io::ErrorKind::WouldBlock.into()),
        })
    }

    fn is_ready(&self, direction: Direction) -> bool {
        poll::is_ready(self.descriptor.as_fd(), direction.interest())
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
                let descriptor = self.descriptor.as_fd();
                let entry = match local::current() {
                    Some(local) => local.watch(descriptor)?,
                    None => global::watch(descriptor)?,
                };
                Ok(self.entry.get_or_init(|| entry))
            }
        }
    }
}

/// The same for futures.
impl<D: AsFd> Source<D> {
    /// As [`retry`](Self::retry), for a future: `Pending` leaves the waker of `cx`, one for each direction.
    #[inline]
    pub(crate) fn poll_retry<T>(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        attempt: impl FnMut(&D) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_retry_and(direction, cx, attempt, |_, _| {})
    }

    /// As [`read_stream`](Self::read_stream), for a future.
    #[cfg(feature = "hyper")]
    #[inline]
    pub(crate) fn poll_read_stream(
        &self,
        most: usize,
        cx: &mut Context<'_>,
        attempt: impl FnMut(&D) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        self.poll_retry_and(Direction::Read, cx, attempt, |&count, seen| {
            if 0 < count && count < most {
                self.drained(seen);
            }
        })
    }

    /// `poll_retry`; a value of `attempt` is shown to `then`, with what was known before.
    #[inline]
    fn poll_retry_and<T>(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&D) -> io::Result<T>,
        then: impl FnOnce(&T, Seen),
    ) -> Poll<io::Result<T>> {
        if budget::is_over() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let seen = self.seen();
            if seen.may_be_ready(direction) {
                match attempt(&self.descriptor) {
                    Ok(value) => {
                        then(&value, seen);
                        budget::count_poll();
                        return Poll::Ready(Ok(value));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.refuted(seen, direction);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            if !self.entry()?.register(direction, cx) {
                return Poll::Pending;
            }
        }
    }
}

/// Waits for a moment, after which the caller looks at its descriptor again: when its carrier first had to wait, the
/// process had no descriptor left for an epoll. The carrier has one as soon as there is room.
///
/// # Errors
///
/// `TimedOut` at `deadline`; what ends a wait from outside.
#[cold]
fn pause(error: &io::Error, deadline: Option<Instant>) -> io::Result<()> {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        // Not `eprintln!`, which panics where standard error cannot be written.
        let _ = writeln!(
            io::stderr(),
            "trine: there is no descriptor to wait with: {error}; waits look again every {PAUSE:?} until there \
             is. {}",
            descriptors::remedy(error)
        );
    });
    let next = Instant::now() + PAUSE;
    park::wait_until(deadline.map_or(next, |deadline| deadline.min(next)))?;
    match deadline {
        Some(deadline) if deadline <= Instant::now() => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// Whether a wait came to its own deadline.
fn is_time_up(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.get_ref().is_none()
}

/// `None` for an attempt that the kernel refused for now.
fn unless_blocked<T>(attempt: io::Result<T>) -> io::Result<Option<T>> {
    match attempt {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        done => done.map(Some),
    }
}

impl<D: AsFd> AsFd for Source<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
