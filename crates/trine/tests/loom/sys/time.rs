//! Time that passes: one who sleeps for a bounded time looks again when something has changed meanwhile, or may have.
//!
//! Loom would let two who only look again and again pass each other for ever.

use std::cell::{Cell, RefCell};
use std::task::Waker;

use crate::task::park;

std::thread_local! {
    /// How often a word that nobody sleeps on was changed, or somebody died. All threads of a model run on one thread of
    /// the system.
    static CHANGES: Cell<u64> = const { Cell::new(0) };
    static SLEEPERS: RefCell<Vec<Waker>> = const { RefCell::new(Vec::new()) };
}

/// Time begins with each run of a model.
pub(crate) fn begin() {
    SLEEPERS.take();
}

/// Somebody has changed something.
pub(crate) fn change() {
    CHANGES.set(CHANGES.get() + 1);
    SLEEPERS.take().into_iter().for_each(Waker::wake);
}

/// Sleeps of one thread in a row.
pub(crate) struct Naps {
    changes: u64,
    naps: u32,
}

/// After so many looks it has seen what is there.
const LOOKS: u32 = 3;

impl Naps {
    pub(crate) fn new() -> Naps {
        Naps { changes: 0, naps: 0 }
    }

    /// Sleeps for a bounded time; nobody may wake it.
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
