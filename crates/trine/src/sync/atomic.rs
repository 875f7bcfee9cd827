//! The atomics and the internal lock of this folder and of the state of a future task, and the
//! numbers of their retries. They are in one file, since the models in `tests/loom` replace it with
//! loom's atomics and small numbers, and check the library's own files.

pub(super) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::AtomicUsize;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
pub(super) use std::sync::{Mutex, MutexGuard, PoisonError};
pub(super) use std::thread_local;

use std::thread;
use std::time::Duration;

/// The number of acquisitions that may pass the front of a queue while it wakes up.
///
/// This many short acquisitions (50 ns) fit into the wake-up of a thread on another core, which
/// takes 4 to 13 µs. The lock lies idle for half of the time at worst, and the front waiter is late
/// by about its own wake-up.
pub(super) const MAY_PASS: u64 = 256;

/// The number of looks at a word before a wait: about a microsecond. A wait costs two switches, and
/// several times as much if a thread has to be woken.
pub(super) const SPINS: u32 = 40;

/// Waits a moment for a flag that is never set for long. Each round waits longer.
#[inline]
pub(super) fn pause(_flag: &AtomicBool, round: u32) {
    /// Rounds of spinning, each twice as long as the one before.
    const SPINS: u32 = 7;
    /// The round from which the thread sleeps, after yields.
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
