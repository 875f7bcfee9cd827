//! A lock for critical sections of a few instructions, without any wait inside.
//!
//! Locking is one compare-exchange, unlocking a plain store, which leaves no room for a queue of
//! sleepers. A thread that finds the lock taken spins, then yields to other threads, then sleeps
//! for ever longer moments, up to a millisecond. That happens only if the kernel has taken the core
//! away from the holder in the middle.
//!
//! A coroutine is never suspended while it holds the lock, so no coroutine finds it taken by its
//! own thread.
//!
//! Ordering: `Acquire` of the locking pairs with `Release` of the unlocking.

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

    /// Unlocks. Only for the holder.
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
