//! The known readiness of a descriptor in an epoll, and the callers that wait for it.
//!
//! The epoll reports changes only (`EPOLLET`). Each is noted in a word, and the waiters are woken.
//! An attempt that the kernel refused clears the note, unless a change has come meanwhile:
//!
//! ```text
//!   word:  │ changes so far │ READ │ WRITE │ READ_ENDED │ WRITE_ENDED │
//!
//!   change   counts, sets bits        by the epoll's thread, which then wakes
//!   refuted  clears the direction     after `WouldBlock`, if the word is as before the attempt
//!   drained  clears READ              after a short read, likewise, and not once the end was seen
//! ```
//!
//! Nodes are never freed, only reused: the epoll's thread may be about to report a change of a
//! descriptor that has just been closed. Such a late report is a wrong hint to the next user of the
//! node, which costs it an attempt.
//!
//! A number is not an identity: other code may close a descriptor that is registered (a C library
//! its socket), and the number then belongs to the next file. The kernel ends the first
//! registration by itself, and the second has the same number. So each [`Epoll`] knows the last
//! registration of each number, and only that one removes it.
//!
//! Ordering: a change is noted before the lock is taken to look for waiters, and a caller that is
//! about to wait reads the word under the same lock. So one of the two sees the other.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use crate::sys::io::poll::{self, Event, Poll};
use crate::sys::process::descriptors;
use crate::task::{park, wait};

/// There may be something to read, as far as known.
const READ: u64 = 1;
/// There may be room to write.
const WRITE: u64 = 2;
/// No later change reports what remains to be read: the peer has closed its end, or one read may
/// leave some of it.
const READ_ENDED: u64 = 4;
/// A write returns an error.
const WRITE_ENDED: u64 = 8;
/// One change.
const CHANGE: u64 = 16;

/// A direction of calls on a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Read, receive, accept.
    Read,
    /// Write, send, connect.
    Write,
}

impl Direction {
    /// Returns the readiness that a caller in this direction waits for.
    pub(super) fn interest(self) -> poll::Interest {
        match self {
            Direction::Read => poll::Interest::Read,
            Direction::Write => poll::Interest::Write,
        }
    }
}

/// The known readiness of a descriptor at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness(u64);

impl Readiness {
    /// The readiness of a descriptor that is in no epoll.
    pub(super) const UNKNOWN: Readiness = Readiness(READ | WRITE);

    #[inline]
    pub(super) fn may_be_ready(self, direction: Direction) -> bool {
        let bits = match direction {
            Direction::Read => READ | READ_ENDED,
            Direction::Write => WRITE | WRITE_ENDED,
        };
        self.0 & bits != 0
    }
}

/// The registration of a descriptor in an epoll; dropped before the descriptor is closed.
#[derive(Debug)]
pub(super) struct Registration {
    node: &'static Node,
    epoll: &'static Epoll,
    descriptor: RawFd,
    /// A copy that is watched in place of the descriptor, if another registration has that.
    _copy: Option<OwnedFd>,
}

/// An epoll, and the registrations in it.
#[derive(Debug)]
pub(super) struct Epoll {
    pub(super) poll: Poll,
    /// The token of the last registration of each number. Locked while the kernel is asked for a
    /// change, so that both agree.
    tokens: Mutex<HashMap<RawFd, u64>>,
}

/// The part that the epoll's reports refer to.
#[derive(Debug, Default)]
struct Node {
    word: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// The waiters of a node.
#[derive(Debug, Default)]
struct Waiting {
    /// Callers that wait in a call, and futures that wait for readiness, each with a number to find
    /// it by.
    callers: Vec<(u64, Direction, Waker)>,
    callers_so_far: u64,
    /// Wakers of futures that read or write, one for each direction.
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Waiting {
    /// Returns the place of the waker of a future.
    fn future(&mut self, direction: Direction) -> &mut Option<Waker> {
        match direction {
            Direction::Read => &mut self.reader,
            Direction::Write => &mut self.writer,
        }
    }
}

/// Nodes without a descriptor.
static FREE: Mutex<Vec<&'static Node>> = Mutex::new(Vec::new());

impl Registration {
    /// Has `epoll` watch `descriptor`.
    ///
    /// # Errors
    ///
    /// The kernel's: no memory or no room for one more.
    pub(super) fn new(
        epoll: &'static Epoll,
        descriptor: BorrowedFd<'_>,
    ) -> io::Result<Registration> {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let node = free.unwrap_or_else(|| Box::leak(Box::default()));
        // Not ready at first: the first report gives the present state.
        node.word.store(0, Relaxed);
        match epoll.watch(descriptor, token(node)) {
            Ok(copy) => {
                let descriptor = copy.as_ref().map_or(descriptor.as_raw_fd(), AsRawFd::as_raw_fd);
                Ok(Registration { node, epoll, descriptor, _copy: copy })
            }
            Err(error) => {
                release(node);
                Err(error)
            }
        }
    }

    #[inline]
    pub(super) fn seen(&self) -> Readiness {
        Readiness(self.node.word.load(Acquire))
    }

    /// Notes that an attempt after `seen` was refused.
    pub(super) fn refuted(&self, seen: Readiness, direction: Direction) {
        // An end that was reported and is none belonged to the node's last user.
        let bits = match direction {
            Direction::Read => READ | READ_ENDED,
            Direction::Write => WRITE | WRITE_ENDED,
        };
        self.node.clear(seen, bits);
    }

    /// Notes that a read after `seen` has taken everything.
    #[inline]
    pub(super) fn drained(&self, seen: Readiness) {
        if seen.0 & READ_ENDED == 0 {
            self.node.clear(seen, READ);
        }
    }

    /// Waits until the descriptor may be ready.
    ///
    /// # Errors
    ///
    /// `TimedOut` at `deadline`; an interruption of the task.
    pub(super) fn wait(&self, direction: Direction, deadline: Option<Instant>) -> io::Result<()> {
        /// Removes the caller from the list on drop.
        struct Leave<'a>(&'a Registration, u64);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.leave_callers(self.1);
            }
        }
        let Some(number) = self.join_callers(None, direction, park::waker()) else {
            return Ok(());
        };
        let _leave = Leave(self, number);
        loop {
            wait::for_wake(deadline)?;
            // A change has removed all callers from the list, and one of the others may have used
            // it up.
            if self.seen().may_be_ready(direction) {
                return Ok(());
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.join_callers(Some(number), direction, park::waker()).is_none() {
                return Ok(());
            }
        }
    }

    /// Adds the caller to the list of waiters, under the given number or a new one, or replaces its
    /// waker there. Returns its number, or `None` if the descriptor may be ready.
    pub(super) fn join_callers(
        &self,
        number: Option<u64>,
        direction: Direction,
        waker: Waker,
    ) -> Option<u64> {
        let mut waiting = self.node.waiting();
        if self.seen().may_be_ready(direction) {
            drop(waiting);
            // Outside the lock: a waker may run foreign code.
            park::discard(Some(waker));
            return None;
        }
        if let Some((.., own)) = waiting.callers.iter_mut().find(|(own, ..)| Some(*own) == number) {
            let last = mem::replace(own, waker);
            drop(waiting);
            park::discard(Some(last));
            return number;
        }
        let number = number.unwrap_or_else(|| {
            waiting.callers_so_far += 1;
            waiting.callers_so_far
        });
        waiting.callers.push((number, direction, waker));
        Some(number)
    }

    /// Removes a caller from the list of waiters, if it is there.
    pub(super) fn leave_callers(&self, number: u64) {
        let mut waiting = self.node.waiting();
        let at = waiting.callers.iter().position(|(own, ..)| *own == number);
        let left = at.map(|at| waiting.callers.swap_remove(at));
        drop(waiting);
        // Outside the lock: a waker may run foreign code.
        park::discard(left.map(|(.., waker)| waker));
    }

    /// Returns true if the descriptor may be ready. If not, wakes the waker of `cx` when it may be.
    pub(super) fn register(&self, direction: Direction, cx: &Context<'_>) -> bool {
        let is_known =
            |place: &Option<Waker>| place.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_known(self.node.waiting().future(direction)) {
            return self.seen().may_be_ready(direction);
        }
        // Cloned and dropped outside the lock: a waker may run foreign code.
        let waker = cx.waker().clone();
        let mut waiting = self.node.waiting();
        // A change from here on finds the waker.
        let is_ready = self.seen().may_be_ready(direction);
        let unused = match is_ready {
            true => Some(waker),
            false => waiting.future(direction).replace(waker),
        };
        drop(waiting);
        park::discard(unused);
        is_ready
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.epoll.forget(self.descriptor, token(self.node));
        release(self.node);
    }
}

/// Returns the number by which an epoll reports changes of `node`.
fn token(node: &'static Node) -> u64 {
    std::ptr::from_ref(node) as u64
}

impl Epoll {
    pub(super) fn new() -> io::Result<Epoll> {
        Ok(Epoll { poll: Poll::new()?, tokens: Mutex::default() })
    }

    /// Watches `descriptor`, or a copy of it, which is returned: an epoll takes a descriptor once,
    /// and two owners may have borrowed it, each with a registration.
    fn watch(&self, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<Option<OwnedFd>> {
        match self.add(descriptor, token) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let copy = descriptors::copy_high(descriptor, 3)?;
                self.add(copy.as_fd(), token)?;
                Ok(Some(copy))
            }
            added => added.map(|()| None),
        }
    }

    fn add(&self, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        self.poll.add_changes(descriptor, token).map_err(name_limit)?;
        // A registration that is replaced here was of a file that has lost this number.
        tokens.insert(descriptor.as_raw_fd(), token);
        Ok(())
    }

    /// Stops watching `number`, unless it has been registered again under another token.
    fn forget(&self, number: RawFd, token: u64) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.get(&number) == Some(&token) {
            tokens.remove(&number);
            self.poll.remove_number(number);
        }
    }
}

/// Names the limit of the error by which an epoll takes no more descriptors.
fn name_limit(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::StorageFull {
        return error;
    }
    let text = "no watch over a descriptor: the epolls of this user watch as many as \
                fs.epoll.max_user_watches allows; raise it with \
                `sysctl fs.epoll.max_user_watches=N`";
    io::Error::new(error.kind(), text)
}

fn release(node: &'static Node) {
    let mut waiting = node.waiting();
    let futures = [waiting.reader.take(), waiting.writer.take()];
    // Of futures that were forgotten without being dropped.
    let callers = mem::take(&mut waiting.callers);
    drop(waiting);
    let callers = callers.into_iter().map(|(.., waker)| Some(waker));
    futures.into_iter().chain(callers).for_each(park::discard);
    FREE.lock().unwrap_or_else(PoisonError::into_inner).push(node);
}

/// Notes an event of one of an epoll's registrations, and wakes its waiters.
pub(super) fn report(event: Event) {
    // SAFETY: a token is the address of a node (`token`), and nodes are never freed.
    let node: &'static Node = unsafe { &*(event.token as *const Node) };
    let mut bits = 0;
    for (is, bit) in [
        (event.readable, READ),
        (event.writable, WRITE),
        (event.read_ended, READ_ENDED),
        (event.write_ended, WRITE_ENDED),
    ] {
        if is {
            bits |= bit;
        }
    }
    node.change(bits);
}

impl Node {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clears `bits`, unless the word has changed since `seen`.
    #[inline]
    fn clear(&self, seen: Readiness, bits: u64) {
        let _ = self.word.compare_exchange(seen.0, seen.0 & !bits, AcqRel, Relaxed);
    }

    fn change(&self, bits: u64) {
        let change = |word: u64| Some(word.wrapping_add(CHANGE) | bits);
        let _ = self.word.fetch_update(AcqRel, Relaxed, change);
        let seen = Readiness(bits);
        let (read, write) =
            (seen.may_be_ready(Direction::Read), seen.may_be_ready(Direction::Write));
        let mut waiting = self.waiting();
        let reader = if read { waiting.reader.take() } else { None };
        let writer = if write { waiting.writer.take() } else { None };
        let concerns = |direction| match direction {
            Direction::Read => read,
            Direction::Write => write,
        };
        // One caller is the rule; only more than one need memory.
        let (first, others) = match &waiting.callers[..] {
            [(_, direction, _)] if concerns(*direction) => (waiting.callers.pop(), Vec::new()),
            [] | [_] => (None, Vec::new()),
            _ => {
                let concerned = waiting.callers.extract_if(.., |(_, own, _)| concerns(*own));
                (None, concerned.collect())
            }
        };
        drop(waiting);
        // Wakers run code of unknown origin, so they are called after the lock is released.
        if let Some((_, _, waker)) = first {
            park::wake(waker);
        }
        others.into_iter().for_each(|(_, _, waker)| park::wake(waker));
        reader.into_iter().chain(writer).for_each(park::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::thread;

    use super::*;

    /// Stands in for a descriptor: units arrive, are taken, and an empty take is refused.
    #[test]
    fn reports_and_refusals_meet_at_all_moments() {
        const COMING: usize = 20_000;
        let node: &'static Node = Box::leak(Box::default());
        let there = Arc::new(AtomicUsize::new(0));
        let coming = Arc::clone(&there);
        let reporter = thread::spawn(move || {
            for _ in 0..COMING {
                coming.fetch_add(1, SeqCst);
                node.change(READ);
            }
        });
        let registration = ManuallyDrop::new(Registration {
            node,
            epoll: Box::leak(Box::new(Epoll::new().unwrap())),
            descriptor: -1,
            _copy: None,
        });
        let mut taken = 0;
        while taken < COMING {
            let seen = registration.seen();
            let now = if seen.may_be_ready(Direction::Read) { there.swap(0, SeqCst) } else { 0 };
            taken += now;
            if now == 0 {
                registration.refuted(seen, Direction::Read);
                if taken < COMING {
                    registration.wait(Direction::Read, None).unwrap();
                }
            }
        }
        reporter.join().unwrap();
    }
}
