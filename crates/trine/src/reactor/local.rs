//! The reactor of a carrier: its own epoll, which it looks at between turns and sleeps in.
//!
//! ```text
//!   others: wake ──► the bell ──┐
//!   the kernel: changes ────────┴─► epoll ──► poll, by time or when nothing is ready ──► wakers
//!                                        └──► sleep, until a change, the bell, or a deadline
//! ```
//!
//! Made with the carrier, but without a descriptor until the first wait there: a program without I/O
//! has none of it.

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::time::Instant;

use super::entry::{self, Entry};
use crate::sys::limits;
use crate::sys::poll::{Bell, Happened, Poll};

/// Says in an epoll that the bell has rung; no node stands there.
const BELL: u64 = 0;

/// The reactor of one carrier, for its own thread.
pub(crate) struct Local {
    epoll: OnceCell<&'static Poll>,
    /// Ends the carrier's sleep; there before the carrier first sleeps in the reactor.
    bell: &'static OnceLock<Bell>,
    happened: RefCell<Vec<Happened>>,
}

thread_local! {
    static LOCAL: Cell<Option<&'static Local>> = const { Cell::new(None) };
}

/// The reactor of the carrier that the caller runs on.
pub(super) fn current() -> Option<&'static Local> {
    LOCAL.get()
}

impl Local {
    /// Makes the reactor of the calling thread, which does nothing else than carry. Others end its
    /// sleep by `bell`, once that is there.
    pub(crate) fn enter(bell: &'static OnceLock<Bell>) -> &'static Local {
        let local = Local { epoll: OnceCell::new(), bell, happened: RefCell::default() };
        let local: &'static Local = Box::leak(Box::new(local));
        LOCAL.set(Some(local));
        local
    }

    /// Whether anybody has ever waited here: else there is nothing to look at.
    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        self.epoll.get().is_some()
    }

    /// Watches `descriptor`.
    ///
    /// # Errors
    ///
    /// No descriptor for the epoll; no room for one more in it.
    pub(super) fn watch(&self, descriptor: BorrowedFd<'_>) -> io::Result<Entry> {
        Entry::new(self.epoll()?, descriptor)
    }

    fn epoll(&self) -> io::Result<&'static Poll> {
        if let Some(epoll) = self.epoll.get() {
            return Ok(epoll);
        }
        let epoll = Poll::new().map_err(explain)?;
        let bell = match self.bell.get() {
            Some(bell) => bell,
            None => {
                let bell = Bell::new().map_err(explain)?;
                self.bell.get_or_init(|| bell)
            }
        };
        epoll.add_changes(bell, BELL)?;
        Ok(self.epoll.get_or_init(|| Box::leak(Box::new(epoll))))
    }

    /// Wakes those for whom something has happened, without sleeping.
    pub(crate) fn poll(&self) {
        self.report(|epoll, happened| epoll.look(happened));
    }

    /// Sleeps until something happens, the bell rings, or `deadline` comes, and wakes those concerned.
    pub(crate) fn sleep(&self, deadline: Option<Instant>) {
        self.report(|epoll, happened| epoll.wait(happened, deadline));
    }

    fn report(&self, wait: impl FnOnce(&Poll, &mut Vec<Happened>)) {
        let Some(epoll) = self.epoll.get() else { return };
        let mut happened = self.happened.borrow_mut();
        wait(epoll, &mut happened);
        // The bell has done its work by ending the sleep.
        happened.drain(..).filter(|it| it.token != BELL).for_each(entry::report);
    }
}

/// Says why there is no descriptor.
fn explain(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), limits::explain_missing("epoll to wait with", &error))
}
