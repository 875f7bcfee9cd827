//! A lock for critical sections of a few instructions, in which nobody waits.
//!
//! Taking it is one compare-exchange, giving it back a plain store, which leaves no room for a queue
//! of sleepers: who finds it taken spins, then lets other threads run, then sleeps for ever longer
//! moments, up to a millisecond. That happens only where the kernel has taken the core away from the holder in the middle.
//!
//! A coroutine is never suspended while it holds one, so the others of its carrier never find it
//! taken by their own thread.
//!
//! Ordering: `Acquire` when it is taken pairs with `Release` when it is given back.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::sync::atomic::{AtomicBool, pause};

pub(super) struct Lock {
    taken: AtomicBool,
}

impl Lock {
    pub(super) fn new() -> Lock {
        Lock { taken: AtomicBool::new(false) }
    }

    #[inline(always)]
    pub(super) fn lock(&self) {
        if !self.try_lock() {
            self.contend();
        }
    }

    #[inline(always)]
    fn try_lock(&self) -> bool {
        self.taken.compare_exchange(false, true, Acquire, Relaxed).is_ok()
    }

    /// Gives the lock back; only for who has it.
    #[inline(always)]
    pub(super) fn unlock(&self) {
        self.taken.store(false, Release);
    }

    #[cold]
    fn contend(&self) {
        let mut round = 0;
        loop {
            while self.taken.load(Relaxed) {
                pause(&self.taken, round);
                round += 1;
            }
            if self.try_lock() {
                return;
            }
        }
    }
}
