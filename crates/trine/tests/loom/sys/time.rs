//! Time that passes: a thread that sleeps for a bounded time checks again when something may have
//! changed meanwhile.
//!
//! Otherwise loom would let two threads that only check again and again alternate forever.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use crate::task::park;

std::thread_local! {
    /// The number of deaths, and of changes of words that no thread sleeps on. All threads of a
    /// model run on one thread of the system.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static SLEEPERS: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

/// Resets the time; each run of a model begins with this.
pub(crate) fn begin() {
    SLEEPERS.take();
}

/// Notes a change.
pub(crate) fn change() {
    CHANGES.set(CHANGES.get() + 1);
    SLEEPERS.take().into_iter().for_each(Waker::wake);
}

/// The sleeps of one thread in a row.
pub(crate) struct Naps {
    changes: u64,
    naps: u32,
}

/// The number of checks after which the thread has seen the present state.
const LOOKS: u32 = 3;

impl Naps {
    pub(crate) fn new() -> Naps {
        Naps { changes: 0, naps: 0 }
    }

    /// Sleeps for a bounded time; there may be no wake-up.
    pub(crate) fn sleep(&mut self) {
        if self.changes != CHANGES.get() {
            (self.changes, self.naps) = (CHANGES.get(), 0);
        }
        self.naps += 1;
        if self.naps <= LOOKS {
            loom::thread::yield_now();
        } else {
            SLEEPERS.with_borrow_mut(|sleepers| sleepers.push(park::waker()));
            park::rest();
        }
    }
}
