//! A descriptor that does not block, and the ways to wait for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::operation::OwnRing;
use super::registration::{Direction, Readiness, Registration};
use super::{budget, global, local};
use crate::sys;
use crate::sys::io::{Blocking, poll, socket};
use crate::sys::process::descriptors;
use crate::task::{self, park, wait};

/// Held while a descriptor is registered for the first time; one lock for every 16th descriptor.
static WATCHING: [Mutex<()>; 16] = [const { Mutex::new(()) }; 16];

/// The time between two attempts on a descriptor that no epoll watches.
const PAUSE: Duration = Duration::from_millis(5);

/// A descriptor that does not block, or a std type around one.
#[derive(Debug)]
pub(crate) struct Source<D: AsFd = OwnedFd> {
    /// Its registration in an epoll, from the first wait there.
    registration: OnceLock<Registration>,
    /// A hint for rings: the last receive has taken everything.
    drained: AtomicBool,
    /// Closed after the registration is dropped.
    descriptor: D,
}

/// The longest wait of a call. A timeout, or `None`, converts into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// It waits as long as it must.
    Endless,
    /// It waits for at most this time, and fails with `TimedOut` then. Zero only looks.
    For(Duration),
    /// It fails with `WouldBlock` instead of waiting.
    NoWait,
}

impl Limit {
    /// Returns the error of a call that would have to wait, if it may not.
    fn refusal(self) -> Option<io::Error> {
        match self {
            Limit::NoWait => Some(io::ErrorKind::WouldBlock.into()),
            Limit::For(Duration::ZERO) => Some(io::ErrorKind::TimedOut.into()),
            Limit::For(_) | Limit::Endless => None,
        }
    }

    /// Returns the end of a wait that begins now.
    pub(crate) fn deadline(self) -> Option<Instant> {
        match self {
            Limit::For(timeout) => Instant::now().checked_add(timeout),
            Limit::Endless | Limit::NoWait => None,
        }
    }
}

impl From<Option<Duration>> for Limit {
    #[inline]
    fn from(timeout: Option<Duration>) -> Limit {
        timeout.map_or(Limit::Endless, Limit::For)
    }
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

    /// Takes a descriptor that does not block already.
    pub(crate) fn of_nonblocking(descriptor: D) -> Source<D> {
        Source { registration: OnceLock::new(), drained: AtomicBool::new(false), descriptor }
    }

    /// The value that this was made of. Reading and writing go through the calls below.
    pub(crate) fn get(&self) -> &D {
        &self.descriptor
    }

    /// Gives the descriptor back as one that blocks, as other code expects.
    pub(crate) fn into_inner(self) -> D {
        drop(self.registration);
        // The one way to fail is a descriptor that is closed already.
        let _ = descriptors::set_blocking(self.descriptor.as_fd(), true);
        self.descriptor
    }

    /// Gives the descriptor back as it was taken.
    pub(crate) fn release(self) -> D {
        drop(self.registration);
        self.descriptor
    }

    /// Calls `attempt` once, and never waits for the descriptor.
    ///
    /// # Errors
    ///
    /// The error of `attempt`, such as `WouldBlock`.
    pub(crate) fn attempt<T>(&self, mut attempt: impl FnMut(&D) -> io::Result<T>) -> io::Result<T> {
        task::budget::spend();
        loop {
            match attempt(&self.descriptor) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// Calls `attempt` until it returns something other than `WouldBlock`. In between, waits until
    /// the descriptor may be ready, for `limit` in all.
    ///
    /// # Errors
    ///
    /// The error of `attempt`; `TimedOut` after `limit`; `WouldBlock` if that allows no wait; an
    /// interruption of the task ([`Interrupted`](crate::Interrupted)).
    #[inline]
    pub(crate) fn retry<T>(
        &self,
        direction: Direction,
        limit: impl Into<Limit>,
        attempt: impl FnMut(&D) -> io::Result<T>,
    ) -> io::Result<T> {
        self.retry_and(direction, limit.into(), attempt, |_, _| {})
    }

    /// Like [`retry`](Self::retry), for reading at most `most` bytes of a stream: a pipe, or a
    /// socket without boundaries between messages. If `attempt` takes less, the next read waits
    /// first.
    ///
    /// # Errors
    ///
    /// The same as for `retry`.
    #[inline]
    pub(crate) fn read_stream(
        &self,
        most: usize,
        limit: impl Into<Limit>,
        attempt: impl FnMut(&D) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.retry_and(Direction::Read, limit.into(), attempt, |&count, seen| {
            if 0 < count && count < most {
                self.drained(seen);
            }
        })
    }

    /// Receives into `buffer`, from a socket where a receive that does not fill the buffer takes
    /// everything.
    ///
    /// # Errors
    ///
    /// The same as for `retry`.
    #[inline]
    pub(crate) fn receive(&self, buffer: &mut [u8], limit: impl Into<Limit>) -> io::Result<usize> {
        self.receive_and(buffer, limit.into(), true)
    }

    /// Like [`receive`](Self::receive), for a socket where a receive may leave some bytes.
    ///
    /// # Errors
    ///
    /// The same as for `retry`.
    #[inline]
    pub(crate) fn receive_piece(
        &self,
        buffer: &mut [u8],
        limit: impl Into<Limit>,
    ) -> io::Result<usize> {
        self.receive_and(buffer, limit.into(), false)
    }

    #[inline]
    fn receive_and(&self, buffer: &mut [u8], limit: Limit, less_is_all: bool) -> io::Result<usize> {
        let most = buffer.len();
        let mut attempt = |descriptor: &D| socket::receive(descriptor, buffer, Blocking::No);
        let count = match OwnRing::of_caller().filter(|_| most > 0) {
            None if less_is_all => self.read_stream(most, limit, attempt)?,
            None => self.retry(Direction::Read, limit, attempt)?,
            Some(ring) => {
                let known = self.drained.load(Relaxed);
                let attempted =
                    if known { None } else { unless_blocked(attempt(&self.descriptor))? };
                match attempted {
                    Some(count) => {
                        budget::count_call();
                        count
                    }
                    None if limit.refusal().is_some() => {
                        return self.retry_and(Direction::Read, limit, attempt, |_, _| {});
                    }
                    None => {
                        let until = limit.deadline();
                        ring.receive(self.descriptor.as_fd(), buffer, until)?
                    }
                }
            }
        };
        self.drained.store(0 < count && count < most, Relaxed);
        Ok(count)
    }

    /// Implements `retry`. Passes the value of `attempt`, and the readiness before it, to `then`.
    #[inline]
    fn retry_and<T>(
        &self,
        direction: Direction,
        limit: Limit,
        mut attempt: impl FnMut(&D) -> io::Result<T>,
        then: impl FnOnce(&T, Readiness),
    ) -> io::Result<T> {
        let mut deadline = None;
        let mut waited = false;
        let mut late = None;
        loop {
            let seen = self.seen();
            if seen.may_be_ready(direction) || waited || limit.refusal().is_some() {
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
                        if let Some(refused) = limit.refusal() {
                            task::budget::spend();
                            return Err(refused);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            }
            if deadline.is_none() {
                deadline = limit.deadline();
            }
            match self.wait(direction, deadline) {
                // One more attempt: the descriptor may have become ready late. (An interruption
                // from outside carries its own reason.)
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
    /// `TimedOut` at `deadline`; an interruption of the task; no room for one more registration.
    pub(crate) fn wait(&self, direction: Direction, deadline: Option<Instant>) -> io::Result<()> {
        let interest = direction.interest();
        if park::is_plain_thread() {
            wait::for_descriptor(self.descriptor.as_fd(), interest, deadline)?;
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            return Ok(());
        }
        match self.registration() {
            Ok(registration) => registration.wait(direction, deadline),
            Err(error) if descriptors::is_limit_met(&error) => pause(&error, deadline),
            Err(error) => Err(error),
        }
    }

    /// Returns true if the descriptor is ready now. Asks the kernel.
    pub(super) fn is_ready(&self, direction: Direction) -> bool {
        poll::is_ready(self.descriptor.as_fd(), direction.interest())
    }

    /// Notes that a read after `seen` has taken everything.
    #[inline]
    fn drained(&self, seen: Readiness) {
        if let Some(registration) = self.registration.get() {
            registration.drained(seen);
        }
    }

    /// Returns the known readiness of the descriptor.
    #[inline]
    pub(super) fn seen(&self) -> Readiness {
        self.registration.get().map_or(Readiness::UNKNOWN, Registration::seen)
    }

    #[inline]
    pub(super) fn refuted(&self, seen: Readiness, direction: Direction) {
        if let Some(registration) = self.registration.get() {
            registration.refuted(seen, direction);
        }
    }

    /// Takes a waiter of [`registration`](Self::registration) out of its list.
    pub(super) fn leave_callers(&self, number: u64) {
        if let Some(registration) = self.registration.get() {
            registration.leave_callers(number);
        }
    }

    /// Returns the registration in an epoll, and makes it the first time.
    pub(super) fn registration(&self) -> io::Result<&Registration> {
        if let Some(registration) = self.registration.get() {
            return Ok(registration);
        }
        // An epoll takes a descriptor once, so one of several callers has to be the first.
        let number = self.descriptor.as_fd().as_raw_fd().unsigned_abs() as usize;
        let _first =
            WATCHING[number % WATCHING.len()].lock().unwrap_or_else(PoisonError::into_inner);
        match self.registration.get() {
            Some(registration) => Ok(registration),
            None => {
                let descriptor = self.descriptor.as_fd();
                let registration = match local::current() {
                    Some(local) => local.watch(descriptor)?,
                    None => global::watch(descriptor)?,
                };
                Ok(self.registration.get_or_init(|| registration))
            }
        }
    }
}

/// The calls for futures.
impl<D: AsFd> Source<D> {
    /// Like [`retry`](Self::retry), for a future: `Pending` leaves the waker of `cx`, one for each
    /// direction.
    #[inline]
    pub(crate) fn poll_retry<T>(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        attempt: impl FnMut(&D) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        self.poll_retry_and(direction, cx, attempt, |_, _| {})
    }

    /// Like [`read_stream`](Self::read_stream), for a future.
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

    /// Implements `poll_retry`. Passes the value of `attempt`, and the readiness before it, to
    /// `then`.
    #[inline]
    fn poll_retry_and<T>(
        &self,
        direction: Direction,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&D) -> io::Result<T>,
        then: impl FnOnce(&T, Readiness),
    ) -> Poll<io::Result<T>> {
        if budget::is_over() {
            park::wake_by_ref(cx.waker());
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
            if !self.registration()?.register(direction, cx) {
                return Poll::Pending;
            }
        }
    }
}

/// Waits for a moment, after which the caller attempts again. When its carrier first had to wait,
/// the process had no descriptor left for an epoll; the carrier gets one as soon as there is room.
///
/// # Errors
///
/// `TimedOut` at `deadline`; an interruption of the task.
#[cold]
fn pause(error: &io::Error, deadline: Option<Instant>) -> io::Result<()> {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        sys::eprint(format_args!(
            "trine: there is no descriptor to wait with: {error}; waits look again every {PAUSE:?} \
             until there is. {}\n",
            descriptors::remedy(error)
        ));
    });
    let next = Instant::now() + PAUSE;
    wait::until(deadline.map_or(next, |deadline| deadline.min(next)))?;
    match deadline {
        Some(deadline) if deadline <= Instant::now() => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// Returns true if a wait has reached its own deadline.
pub(super) fn is_time_up(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::TimedOut && error.get_ref().is_none()
}

/// Returns `None` for an attempt that would block.
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
