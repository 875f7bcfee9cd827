//! What is known of a descriptor in an epoll, and who waits for it.
//!
//! The epoll reports changes only (`EPOLLET`): each is noted in a word, and whoever waits is woken.
//! An attempt that the kernel refused clears the note, unless a change has come meanwhile:
//!
//! ```text
//!   word:  │ changes so far │ READ │ WRITE │ READ_ENDED │ WRITE_ENDED │
//!
//!   change   counts, sets bits        by the epoll's thread, which then wakes
//!   refuted  clears the direction     after `WouldBlock`, if the word is as it was before the attempt
//!   drained  clears READ              after a short read, likewise, and not once the end was seen
//! ```
//!
//! Nodes are never freed, only used again: the epoll's thread may be about to report a change of a
//! descriptor that has just been closed. Such a late report is a wrong hint to the next user of the
//! node, which costs it an attempt.
//!
//! Ordering: a change is noted before the lock is taken to look for those who wait; who is about to
//! wait looks at the word under the same lock. So one of both sees the other.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;

use super::source::Direction;
use crate::sys::io::poll::{Happened, Poll};
use crate::sys::process::descriptors;
use crate::task::{park, wait};

/// There may be something to read, as far as is known.
const READ: u64 = 1;
/// There may be room to write.
const WRITE: u64 = 2;
/// No change tells of what is there: the peer has ended, or what it sent is not read in one piece.
const READ_ENDED: u64 = 4;
/// Writing tells an error.
const WRITE_ENDED: u64 = 8;
/// One change.
const CHANGE: u64 = 16;

/// What was known of a descriptor at some moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen(u64);

impl Seen {
    /// The descriptor is in no epoll.
    pub(super) const NOTHING: Seen = Seen(READ | WRITE);

    #[inline]
    pub(super) fn may_be_ready(self, direction: Direction) -> bool {
        let bits = match direction {
            Direction::Read => READ | READ_ENDED,
            Direction::Write => WRITE | WRITE_ENDED,
        };
        self.0 & bits != 0
    }
}

/// A watched descriptor's place; dropped before the descriptor is closed.
#[derive(Debug)]
pub(super) struct Entry {
    node: &'static Node,
    epoll: &'static Poll,
    descriptor: RawFd,
    /// What is watched in place of the descriptor, if somebody else has that watched already.
    _copy: Option<OwnedFd>,
}

/// The part that the epoll's reports lead to.
#[derive(Debug, Default)]
struct Node {
    word: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// Who waits.
#[derive(Debug, Default)]
struct Waiting {
    /// Those who wait in a call, with a number to be found by.
    callers: Vec<(u64, Direction, Waker)>,
    callers_so_far: u64,
    /// Futures, one for each direction.
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Nodes without a descriptor.
static FREE: Mutex<Vec<&'static Node>> = Mutex::new(Vec::new());

impl Entry {
    /// Has `epoll` watch `descriptor`.
    ///
    /// # Errors
    ///
    /// The kernel's: no memory or no room for one more.
    pub(super) fn new(epoll: &'static Poll, descriptor: BorrowedFd<'_>) -> io::Result<Entry> {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let node = free.unwrap_or_else(|| Box::leak(Box::default()));
        // Not known to be ready: the first report says what there is.
        node.word.store(0, Relaxed);
        match watch(epoll, descriptor, token(node)) {
            Ok(copy) => {
                let descriptor = copy.as_ref().map_or(descriptor.as_raw_fd(), AsRawFd::as_raw_fd);
                Ok(Entry { node, epoll, descriptor, _copy: copy })
            }
            Err(error) => {
                release(node);
                Err(error)
            }
        }
    }

    #[inline]
    pub(super) fn seen(&self) -> Seen {
        Seen(self.node.word.load(Acquire))
    }

    /// An attempt after `seen` was refused.
    pub(super) fn refuted(&self, seen: Seen, direction: Direction) {
        // An end that was reported and is none belonged to the node's last user.
        let bits = match direction {
            Direction::Read => READ | READ_ENDED,
            Direction::Write => WRITE | WRITE_ENDED,
        };
        self.node.clear(seen, bits);
    }

    /// A read after `seen` has taken all there was.
    #[inline]
    pub(super) fn drained(&self, seen: Seen) {
        if seen.0 & READ_ENDED == 0 {
            self.node.clear(seen, READ);
        }
    }

    /// Waits until the descriptor may be ready.
    ///
    /// # Errors
    ///
    /// `TimedOut` at `deadline`; what ends a wait from outside.
    pub(super) fn wait(&self, direction: Direction, deadline: Option<Instant>) -> io::Result<()> {
        /// Takes the caller out of the list.
        struct Leave<'a>(&'a Node, u64);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                let mut waiting = self.0.waiting();
                if let Some(at) = waiting.callers.iter().position(|(own, ..)| *own == self.1) {
                    let left = waiting.callers.swap_remove(at);
                    drop(waiting);
                    drop(left);
                }
            }
        }
        let Some(number) = self.join_callers(None, direction) else { return Ok(()) };
        let _leave = Leave(self.node, number);
        loop {
            wait::for_wake(deadline)?;
            // A change has taken all callers out of the list, and one of the others may have used it up.
            if self.seen().may_be_ready(direction) {
                return Ok(());
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if self.join_callers(Some(number), direction).is_none() {
                return Ok(());
            }
        }
    }

    /// Puts the caller into the list of those who wait, unless it is there; under the number it has, or a
    /// new one. `None`: the descriptor may be ready.
    fn join_callers(&self, number: Option<u64>, direction: Direction) -> Option<u64> {
        // Dropped after the lock, where it is not put in.
        let waker = park::waker();
        let mut waiting = self.node.waiting();
        if self.seen().may_be_ready(direction) {
            return None;
        }
        if waiting.callers.iter().any(|(own, ..)| Some(*own) == number) {
            return number;
        }
        let number = number.unwrap_or_else(|| {
            waiting.callers_so_far += 1;
            waiting.callers_so_far
        });
        waiting.callers.push((number, direction, waker));
        Some(number)
    }

    /// Whether the descriptor may be ready; if not, the waker of `cx` is woken when it may be.
    pub(super) fn register(&self, direction: Direction, cx: &Context<'_>) -> bool {
        let mut waiting = self.node.waiting();
        if self.seen().may_be_ready(direction) {
            return true;
        }
        let place = match direction {
            Direction::Read => &mut waiting.reader,
            Direction::Write => &mut waiting.writer,
        };
        if !place.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            let last = place.replace(cx.waker().clone());
            drop(waiting);
            drop(last);
        }
        false
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.epoll.remove_number(self.descriptor);
        release(self.node);
    }
}

/// The number by which an epoll reports changes of `node`.
fn token(node: &'static Node) -> u64 {
    std::ptr::from_ref(node) as u64
}

/// Has `epoll` watch `descriptor`, or a copy of it: an epoll takes a number once, and a descriptor may
/// be borrowed by two, each with an entry.
fn watch(epoll: &Poll, descriptor: BorrowedFd<'_>, token: u64) -> io::Result<Option<OwnedFd>> {
    match epoll.add_changes(descriptor, token) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let copy = descriptors::copy_high(descriptor, 3)?;
            epoll.add_changes(&copy, token)?;
            Ok(Some(copy))
        }
        added => added.map(|()| None),
    }
}

fn release(node: &'static Node) {
    let futures = {
        let mut waiting = node.waiting();
        (waiting.reader.take(), waiting.writer.take())
    };
    drop(futures);
    FREE.lock().unwrap_or_else(PoisonError::into_inner).push(node);
}

/// Notes what an epoll has reported of one of its entries, and wakes those who wait for it.
pub(super) fn report(happened: Happened) {
    // SAFETY: a token of an entry is the address of its node (`token`), and nodes are never freed.
    let node: &'static Node = unsafe { &*(happened.token as *const Node) };
    let mut bits = 0;
    for (is, bit) in [
        (happened.readable, READ),
        (happened.writable, WRITE),
        (happened.read_ended, READ_ENDED),
        (happened.write_ended, WRITE_ENDED),
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
    fn clear(&self, seen: Seen, bits: u64) {
        let _ = self.word.compare_exchange(seen.0, seen.0 & !bits, AcqRel, Relaxed);
    }

    fn change(&self, bits: u64) {
        let change = |word: u64| Some(word.wrapping_add(CHANGE) | bits);
        let _ = self.word.fetch_update(AcqRel, Relaxed, change);
        let seen = Seen(bits);
        let (read, write) =
            (seen.may_be_ready(Direction::Read), seen.may_be_ready(Direction::Write));
        let mut waiting = self.waiting();
        let reader = if read { waiting.reader.take() } else { None };
        let writer = if write { waiting.writer.take() } else { None };
        let concerns = |direction| match direction {
            Direction::Read => read,
            Direction::Write => write,
        };
        // One caller is the rule; for more, memory is taken.
        let (first, others) = match &waiting.callers[..] {
            [(_, direction, _)] if concerns(*direction) => (waiting.callers.pop(), Vec::new()),
            [] | [_] => (None, Vec::new()),
            _ => {
                let concerned = waiting.callers.extract_if(.., |(_, own, _)| concerns(*own));
                (None, concerned.collect())
            }
        };
        drop(waiting);
        // Outside the lock, as a waker is anybody's code.
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

    /// What a descriptor would be: something comes, is taken, and its absence is told.
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
        let entry = ManuallyDrop::new(Entry {
            node,
            epoll: Box::leak(Box::new(Poll::new().unwrap())),
            descriptor: -1,
            _copy: None,
        });
        let mut taken = 0;
        while taken < COMING {
            let seen = entry.seen();
            let now = if seen.may_be_ready(Direction::Read) { there.swap(0, SeqCst) } else { 0 };
            taken += now;
            if now == 0 {
                entry.refuted(seen, Direction::Read);
                if taken < COMING {
                    entry.wait(Direction::Read, None).unwrap();
                }
            }
        }
        reporter.join().unwrap();
    }
}
