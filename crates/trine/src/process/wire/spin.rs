//! Looking again and again for a moment, before a sleep.
//!
//! To wake a sleeper costs 5 to 70 µs, as the machine is, an answer of a busy peer takes less. How long it pays to look is
//! learnt: a spin that was rewarded makes the next one longer, one that was not makes it shorter.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long to spin, by what that has brought.
#[derive(Debug)]
pub(in crate::process) struct Patience(AtomicU32);

impl Patience {
    /// In microseconds.
    const LEAST: u32 = 2;
    const MOST: u32 = 50;
    /// With less than this, spins were in vain for some time.
    const LITTLE: u32 = 10;

    pub(in crate::process) const fn new() -> Patience {
        Patience(AtomicU32::new(Patience::MOST))
    }

    /// Calls `done` until it says so; `false` if patience has come to its end before. `pass` may let others
    /// run in between, and says whether there were some.
    pub(in crate::process) fn spin(
        &self,
        pass: impl Fn() -> bool,
        done: impl FnMut() -> bool,
    ) -> bool {
        let rewarded = self.look(pass, done);
        self.learn(rewarded);
        rewarded
    }

    /// As [`spin`](Patience::spin), but also ends when the caller has something better to do, `otherwise`; of that nothing
    /// is learnt. Others run in between only while that pays: on a busy machine it takes them milliseconds.
    pub(in crate::process) fn watch(&self, done: impl Fn() -> bool, otherwise: impl Fn() -> bool) {
        let in_vain = self.0.load(Relaxed) < Patience::LITTLE;
        let ended = self.look(|| in_vain, || done() || otherwise());
        if done() || !ended {
            self.learn(ended);
        }
    }

    fn look(&self, pass: impl Fn() -> bool, mut done: impl FnMut() -> bool) -> bool {
        let budget = Duration::from_micros(self.0.load(Relaxed).into());
        let start = Instant::now();
        loop {
            for _ in 0..32 {
                if done() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() >= budget {
                return false;
            }
            if !pass() {
                std::thread::yield_now();
            }
        }
    }

    fn learn(&self, rewarded: bool) {
        let patience = self.0.load(Relaxed);
        let next = if rewarded {
            (2 * patience).min(Patience::MOST)
        } else {
            (patience - patience / 8).saturating_sub(1).max(Patience::LEAST)
        };
        self.0.store(next, Relaxed);
    }
}
