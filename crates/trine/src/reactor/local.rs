//! The reactor of a carrier: its own ring or epoll, which it looks at between turns and sleeps in.
//!
//! ```text
//!   others: wake ──► the bell ──────┐
//!   the kernel: changes ─► epoll ───┼─► ring ──► poll, by time or when nothing is ready ──► wakers
//!   the kernel: completions ────────┘       └──► sleep, until one of them, or a deadline
//! ```
//!
//! Without a ring, the epoll takes its place, and the bell hangs there.
//!
//! Made with the carrier, but without a descriptor until the first wait there: a program without I/O
//! has none of it.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::backend;
use super::operation;
use super::registration::{self, Entry};
use crate::config::Reactor;
use crate::sys::io::poll::{Bell, Happened, Poll};
use crate::sys::io::uring::{Operation, Ring};

/// Tokens that are no address: the bell's, and in a ring the epoll's.
const BELL: u64 = 2;
const EPOLL: u64 = 4;

/// How long a carrier sleeps whose ring has no room to watch the bell.
const RETRY: Duration = Duration::from_millis(1);

/// The reactor of one carrier, for its own thread.
pub(crate) struct Local {
    /// `None` where epoll serves; empty before the first wait.
    ring: OnceCell<Option<RefCell<Ring>>>,
    epoll: OnceCell<&'static Poll>,
    /// Ends the carrier's sleep; there before the carrier first sleeps in the reactor.
    bell: &'static OnceLock<Bell>,
    happened: RefCell<Vec<Happened>>,
    /// Which of bell and epoll the ring has ceased to watch.
    unwatched: RefCell<Vec<u64>>,
}

thread_local! {
    static LOCAL: Cell<Option<&'static Local>> = const { Cell::new(None) };
}

/// The reactor of the carrier that the caller runs on.
#[inline]
pub(super) fn current() -> Option<&'static Local> {
    LOCAL.get()
}

impl Local {
    /// Makes the reactor of the calling thread, which does nothing else than carry. Others end its
    /// sleep by `bell`, once that is there.
    pub(crate) fn enter(bell: &'static OnceLock<Bell>) -> &'static Local {
        let local = Local {
            ring: OnceCell::new(),
            epoll: OnceCell::new(),
            bell,
            happened: RefCell::default(),
            unwatched: RefCell::default(),
        };
        let local: &'static Local = Box::leak(Box::new(local));
        LOCAL.set(Some(local));
        local
    }

    /// Whether anybody has ever waited here: else there is nothing to look at.
    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        self.epoll.get().is_some() || matches!(self.ring.get(), Some(Some(_)))
    }

    /// The ring, made at the first call; `None` where epoll serves.
    #[inline]
    pub(super) fn ring(&self) -> Option<&RefCell<Ring>> {
        self.ring.get_or_init(|| self.make_ring()).as_ref()
    }

    #[cold]
    fn make_ring(&self) -> Option<RefCell<Ring>> {
        if backend::reactor().kind() == Reactor::Epoll {
            return None;
        }
        // A carrier that gets no ring, though the first one did, has met a limit: epoll needs less.
        let mut ring = Ring::new().ok()?;
        let bell = self.bell().ok()?;
        // SAFETY: the operation points to nothing.
        unsafe { ring.push(Operation::changes(bell.as_fd()), BELL) }.ok()?;
        Some(RefCell::new(ring))
    }

    /// Puts an operation into the ring.
    ///
    /// # Safety
    ///
    /// As for [`Ring::push`]; `token` is one of `operation.rs`.
    ///
    /// # Errors
    ///
    /// As for `push`.
    pub(super) unsafe fn push(&self, operation: Operation, token: u64) -> io::Result<()> {
        let ring = self.ring().expect("operations are made where there is a ring");
        // SAFETY: the caller's promise.
        unsafe { ring.borrow_mut().push(operation, token) }
    }

    /// Watches `descriptor`.
    ///
    /// # Errors
    ///
    /// No descriptor for the epoll; no room for one more in it.
    pub(super) fn watch(&self, descriptor: BorrowedFd<'_>) -> io::Result<Entry> {
        Entry::new(self.epoll()?, descriptor)
    }

    fn bell(&self) -> io::Result<&'static Bell> {
        match self.bell.get() {
            Some(bell) => Ok(bell),
            None => {
                let bell = Bell::new()?;
                Ok(self.bell.get_or_init(|| bell))
            }
        }
    }

    fn epoll(&self) -> io::Result<&'static Poll> {
        if let Some(epoll) = self.epoll.get() {
            return Ok(epoll);
        }
        let epoll = Poll::new()?;
        match self.ring() {
            // SAFETY: the operation points to nothing.
            Some(ring) => unsafe {
                ring.borrow_mut().push(Operation::changes(epoll.as_fd()), EPOLL)?;
            },
            None => epoll.add_changes(self.bell()?, BELL)?,
        }
        Ok(self.epoll.get_or_init(|| Box::leak(Box::new(epoll))))
    }

    /// Wakes those for whom something has happened, without sleeping.
    pub(crate) fn poll(&self) {
        match self.ring.get() {
            Some(Some(ring)) => {
                if ring.borrow_mut().is_busy() {
                    ring.borrow_mut().enter();
                    self.complete(ring);
                }
            }
            _ => _ = self.report(|epoll, happened| epoll.look(happened)),
        }
    }

    /// Sleeps until something happens, the bell rings, or `deadline` comes, and wakes those concerned.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) {
        match self.ring.get() {
            Some(Some(ring)) => {
                let soon = || Some(Instant::now() + RETRY);
                let deadline = if self.watch_again(ring) { deadline } else { soon() };
                ring.borrow_mut().sleep(deadline);
                self.complete(ring);
            }
            _ => _ = self.report(|epoll, happened| epoll.wait(happened, deadline)),
        }
    }

    /// Takes what has completed in the ring.
    fn complete(&self, ring: &RefCell<Ring>) {
        loop {
            // Not borrowed while something is done about it.
            let Some(completion) = ring.borrow_mut().take() else { break };
            match completion.token {
                // The bell has done its work by ending the sleep.
                BELL => {}
                // The ring tells of changes only, so nothing may be left behind.
                EPOLL => while self.report(|epoll, happened| epoll.look(happened)) == Poll::MOST {},
                token => {
                    // SAFETY: all other tokens in this ring are those of `perform`.
                    unsafe { operation::complete(token, completion.result) };
                    continue;
                }
            }
            if !completion.more {
                self.unwatched.borrow_mut().push(completion.token);
            }
        }
        self.watch_again(ring);
    }

    /// Has the ring watch bell and epoll again that it has ceased to; `false` if it has no room. What happens
    /// meanwhile is told as soon as it watches.
    fn watch_again(&self, ring: &RefCell<Ring>) -> bool {
        let mut unwatched = self.unwatched.borrow_mut();
        unwatched.retain(|&token| {
            let watched = match token {
                BELL => self.bell.get().map(|bell| bell.as_fd()),
                _ => self.epoll.get().map(|epoll| epoll.as_fd()),
            };
            let watch = Operation::changes(watched.expect("it was watched"));
            // SAFETY: the operation points to nothing.
            unsafe { ring.borrow_mut().push(watch, token) }.is_err()
        });
        unwatched.is_empty()
    }

    /// Waits for the epoll by `wait`, and wakes those concerned; how much was reported.
    fn report(&self, wait: impl FnOnce(&Poll, &mut Vec<Happened>)) -> usize {
        let Some(epoll) = self.epoll.get() else { return 0 };
        let mut happened = self.happened.borrow_mut();
        wait(epoll, &mut happened);
        let count = happened.len();
        // The bell has done its work by ending the sleep.
        happened.drain(..).filter(|it| it.token != BELL).for_each(registration::report);
        count
    }
}
