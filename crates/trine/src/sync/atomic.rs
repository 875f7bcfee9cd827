//! The atomics and the internal lock of what stands in this folder (and of the word of a future task), and the numbers that say how
//! often it tries: in one place, since the models in `tests/loom` put loom's atomics and small
//! numbers here and check the very same files.

pub(super) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::AtomicUsize;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
pub(super) use std::thread_local;

use std::thread;
use std::time::Duration;

/// How many acquisitions may pass the one in front of a queue while it wakes up.
///
/// As many short ones (50 ns) as fit into the wake-up of a thread on another core, which takes 4 to
/// 13 µs: so what is waited for lies idle for half of the time at worst, and the one in front is late by
/// about its own wake-up.
pub(super) const MAY_PASS: u64 = 256;

/// Looks at a word that may change at any moment, before waiting: about a microsecond. A wait costs two
/// switches, and several times as much where a thread has to be woken.
pub(super) const SPINS: u32 = 40;

/// Lets a moment pass in which a flag may be cleared that is never set for long; a longer one in each round.
#[inline]
pub(super) fn pause(_flag: &AtomicBool, round: u32) {
    /// Rounds of spinning, each twice as long as the one before.
    const SPINS: u32 = 7;
    /// Rounds until which the thread gives up its turn; later it sleeps.
    const YIELDS: u32 = 40;
    match round {
        0..SPINS => (0..1 << round).for_each(|_| spin_loop()),
        SPINS..YIELDS => thread::yield_now(),
        _ => {
            let beyond = (round - YIELDS).min(5);
            thread::sleep(Duration::from_micros(32 << beyond));
        }
    }
}
