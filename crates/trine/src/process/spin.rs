//! Looking again and again for a moment, before a sleep.
//!
//! To wake a sleeper costs 5 to 70 µs, as the machine is, an answer of a busy peer takes less. How long it pays to look is
//! learnt: a spin that was rewarded makes the next one longer, one that was not makes it shorter.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long to spin, by what that has brought.
#[derive(Debug)]
pub(super) struct Patience(AtomicU32);

impl Patience {
    /// In microseconds.
    const LEAST: u32 = 2;
    const MOST: u32 = 50;

    pub(super) const fn new() -> Patience {
        Patience(AtomicU32::new(Patience::MOST))
    }

    /// Calls `done` until it says so; `false` if patience has come to its end before. `pass` may let others
    /// run in between, and says whether there were some.
    pub(super) fn spin(&self, pass: impl Fn() -> bool, mut done: impl FnMut() -> bool) -> bool {
        let patience = self.0.load(Relaxed);
        let (start, budget) = (Instant::now(), Duration::from_micros(patience.into()));
        loop {
            for _ in 0..32 {
                if done() {
                    let more = (2 * patience).min(Patience::MOST);
                    self.0.store(more, Relaxed);
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() >= budget {
                let less = (patience - patience / 8).max(Patience::LEAST);
                self.0.store(less, Relaxed);
                return false;
            }
            if !pass() {
                std::thread::yield_now();
            }
        }
    }
}

/// Calls `done` for about two microseconds, or until it says so.
pub(super) fn briefly(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() && start.elapsed() < Duration::from_micros(2) {
        std::hint::spin_loop();
    }
}
