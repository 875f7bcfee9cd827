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

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Lock {
    taken: AtomicBool,
}

/// Rounds of spinning, each twice as long as the one before.
const SPINS: u32 = 7;
/// Rounds until which the thread gives up its turn; later it sleeps.
const YIELDS: u32 = 40;

impl Lock {
    pub(super) const fn new() -> Lock {
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
                match round {
                    0..SPINS => (0..1 << round).for_each(|_| std::hint::spin_loop()),
                    SPINS..YIELDS => std::thread::yield_now(),
                    _ => {
                        let beyond = (round - YIELDS).min(5);
                        std::thread::sleep(Duration::from_micros(32 << beyond));
                    }
                }
                round += 1;
            }
            if self.try_lock() {
                return;
            }
        }
    }
}
