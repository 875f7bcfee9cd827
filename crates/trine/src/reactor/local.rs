//! The reactor of a carrier: its own ring or epoll. The carrier polls it between coroutines, and
//! sleeps in it.
//!
//! ```text
//!   others: wake ──► the bell ──────┐
//!   the kernel: changes ─► epoll ───┼─► ring ──► poll, by time or when nothing is ready ──► wakers
//!   the kernel: completions ────────┘       └──► sleep, until one of them, or a deadline
//! ```
//!
//! Without a ring, the epoll takes its place, and watches the bell.
//!
//! The reactor is made with the carrier, but has no descriptor before the first wait: a program
//! without I/O needs none.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::backend;
use super::in_flight;
use super::registration::{self, Epoll, Registration};
use crate::config::Reactor;
use crate::sys::io::poll::{Bell, Event, Poll};
use crate::sys::io::uring::{Operation, Ring};

/// Tokens that are not an address: the bell's, and in a ring the epoll's.
const BELL: u64 = 2;
const EPOLL: u64 = 4;

/// The sleep of a carrier whose ring has no room to watch the bell.
const RETRY: Duration = Duration::from_millis(1);

/// The reactor of one carrier, used by its own thread.
pub(crate) struct Local {
    /// `None` if the carrier uses epoll; empty before the first wait.
    ring: OnceCell<Option<RefCell<Ring>>>,
    epoll: OnceCell<&'static Epoll>,
    /// Ends the carrier's sleep. It exists before the carrier first sleeps in the reactor.
    bell: &'static OnceLock<Bell>,
    events: RefCell<Vec<Event>>,
    /// The tokens of the bell and the epoll, if the ring has stopped watching them.
    unwatched: RefCell<Vec<u64>>,
}

thread_local! {
    static LOCAL: Cell<Option<&'static Local>> = const { Cell::new(None) };
}

/// Returns the reactor of the carrier that the caller runs on.
#[inline]
pub(super) fn current() -> Option<&'static Local> {
    LOCAL.get()
}

impl Local {
    /// Makes the reactor of the calling thread, a carrier. Other threads end its sleep by `bell`,
    /// once that exists.
    pub(crate) fn enter(bell: &'static OnceLock<Bell>) -> &'static Local {
        let local = Local {
            ring: OnceCell::new(),
            epoll: OnceCell::new(),
            bell,
            events: RefCell::default(),
            unwatched: RefCell::default(),
        };
        let local: &'static Local = Box::leak(Box::new(local));
        LOCAL.set(Some(local));
        local
    }

    /// Returns true if any caller has ever waited here: else there is nothing to poll.
    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        self.epoll.get().is_some() || matches!(self.ring.get(), Some(Some(_)))
    }

    /// Returns the ring, made at the first call; `None` if the carrier uses epoll.
    #[inline]
    pub(super) fn ring(&self) -> Option<&RefCell<Ring>> {
        self.ring.get_or_init(|| self.make_ring()).as_ref()
    }

    #[cold]
    fn make_ring(&self) -> Option<RefCell<Ring>> {
        if backend::reactor().kind() == Reactor::Epoll {
            return None;
        }
        // The program got a ring at first, but not here: a limit was met, and epoll needs less.
        let mut ring = Ring::new().ok()?;
        let bell = self.bell().ok()?;
        // SAFETY: the operation points to nothing.
        unsafe { ring.push(Operation::changes(bell.as_fd()), BELL) }.ok()?;
        Some(RefCell::new(ring))
    }

    /// Pushes an operation into the ring.
    ///
    /// # Safety
    ///
    /// The same as for [`Ring::push`]; `token` is that of an [`InFlight`](in_flight::InFlight).
    ///
    /// # Errors
    ///
    /// The same as for `push`.
    pub(super) unsafe fn push(&self, operation: Operation, token: u64) -> io::Result<()> {
        let ring = self.ring().expect("operations are made where there is a ring");
        // SAFETY: the caller's promise.
        unsafe { ring.borrow_mut().push(operation, token) }
    }

    /// Registers `descriptor` with the epoll.
    ///
    /// # Errors
    ///
    /// No descriptor is left for the epoll; it has no room for one more.
    pub(super) fn watch(&self, descriptor: BorrowedFd<'_>) -> io::Result<Registration> {
        Registration::new(self.epoll()?, descriptor)
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

    fn epoll(&self) -> io::Result<&'static Epoll> {
        if let Some(epoll) = self.epoll.get() {
            return Ok(epoll);
        }
        let epoll = Epoll::new()?;
        match self.ring() {
            // SAFETY: the operation points to nothing.
            Some(ring) => unsafe {
                ring.borrow_mut().push(Operation::changes(epoll.poll.as_fd()), EPOLL)?;
            },
            None => epoll.poll.add_changes(self.bell()?, BELL)?,
        }
        Ok(self.epoll.get_or_init(|| Box::leak(Box::new(epoll))))
    }

    /// Wakes the waiters of all changes, without sleeping.
    pub(crate) fn poll(&self) {
        match self.ring.get() {
            Some(Some(ring)) => {
                if ring.borrow_mut().is_busy() {
                    ring.borrow_mut().enter();
                    self.complete(ring);
                }
            }
            _ => _ = self.report(|epoll, events| epoll.take_ready(events)),
        }
    }

    /// Sleeps until something changes, the bell rings, or `deadline` comes, and wakes the waiters.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) {
        match self.ring.get() {
            Some(Some(ring)) => {
                let soon = || Some(Instant::now() + RETRY);
                let deadline = if self.watch_again(ring) { deadline } else { soon() };
                ring.borrow_mut().sleep(deadline);
                self.complete(ring);
            }
            _ => _ = self.report(|epoll, events| epoll.wait(events, deadline)),
        }
    }

    /// Handles the completions in the ring.
    fn complete(&self, ring: &RefCell<Ring>) {
        loop {
            // The ring is not borrowed while a completion is handled.
            let Some(completion) = ring.borrow_mut().take() else { break };
            match completion.token {
                // The bell has done its work by ending the sleep.
                BELL => {}
                // The ring reports changes of the epoll only, so no event may remain in it.
                EPOLL => {
                    while self.report(|epoll, events| epoll.take_ready(events)) == Poll::MOST {}
                }
                token => {
                    // SAFETY: all other tokens in this ring are those of operations in flight.
                    unsafe { in_flight::complete(token, completion.result) };
                    continue;
                }
            }
            if !completion.more {
                self.unwatched.borrow_mut().push(completion.token);
            }
        }
        self.watch_again(ring);
    }

    /// Has the ring watch bell and epoll again where it has stopped. Returns false if it has no
    /// room. Changes meanwhile are reported as soon as it watches.
    fn watch_again(&self, ring: &RefCell<Ring>) -> bool {
        let mut unwatched = self.unwatched.borrow_mut();
        unwatched.retain(|&token| {
            let watched = match token {
                BELL => self.bell.get().map(|bell| bell.as_fd()),
                _ => self.epoll.get().map(|epoll| epoll.poll.as_fd()),
            };
            let watch = Operation::changes(watched.expect("it was watched"));
            // SAFETY: the operation points to nothing.
            unsafe { ring.borrow_mut().push(watch, token) }.is_err()
        });
        unwatched.is_empty()
    }

    /// Waits for the epoll by `wait`, wakes the waiters, and returns the number of events.
    fn report(&self, wait: impl FnOnce(&Poll, &mut Vec<Event>)) -> usize {
        let Some(epoll) = self.epoll.get() else { return 0 };
        let mut events = self.events.borrow_mut();
        wait(&epoll.poll, &mut events);
        let count = events.len();
        // The bell has done its work by ending the sleep.
        events.drain(..).filter(|it| it.token != BELL).for_each(registration::report);
        count
    }
}
