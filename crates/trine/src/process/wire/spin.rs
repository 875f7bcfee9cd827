//! Spinning before a sleep, on either side of a pool's ring.
//!
//! The budget is a time, not a count as in the other loops over [`AdaptiveSpin`] (`task/spin.rs`
//! compares them): an answer takes as long as its task runs, so what pays off is a span of time.
//! 50 µs is about what a wake-up costs.

use std::time::{Duration, Instant};

use crate::task::spin::AdaptiveSpin;

/// Least budget, in microseconds.
const LEAST: u32 = 2;
/// Largest budget, in microseconds.
const MOST: u32 = 50;
/// A budget below this means that spins have failed for some time.
const LOW: u32 = 10;
/// Probes between two looks at the clock.
const PROBES: u32 = 32;

/// A spin whose budget is a time.
#[derive(Debug)]
pub(in crate::process) struct TimedSpin(AdaptiveSpin<LEAST, MOST>);

impl TimedSpin {
    pub(in crate::process) const fn new() -> TimedSpin {
        TimedSpin(AdaptiveSpin::new())
    }

    /// Probes `done` until it returns true; returns false if the budget is used up before.
    ///
    /// `pass` may let other coroutines run between two probes and returns true if some did;
    /// otherwise the thread yields.
    pub(in crate::process) fn spin(
        &self,
        pass: impl Fn() -> bool,
        done: impl FnMut() -> bool,
    ) -> bool {
        let succeeded = self.probe(pass, done);
        self.0.learn(succeeded);
        succeeded
    }

    /// Probes `done` as [`spin`](TimedSpin::spin) does, but also ends when `otherwise` returns
    /// true: the caller has other work then. The budget learns nothing from such an end.
    ///
    /// The thread yields between two probes only while spins succeed: on a busy machine a yield
    /// takes milliseconds.
    pub(in crate::process) fn watch(&self, done: impl Fn() -> bool, otherwise: impl Fn() -> bool) {
        let fails = self.0.budget() < LOW;
        let ended = self.probe(|| fails, || done() || otherwise());
        if done() || !ended {
            self.0.learn(ended);
        }
    }

    fn probe(&self, pass: impl Fn() -> bool, mut done: impl FnMut() -> bool) -> bool {
        let budget = Duration::from_micros(self.0.budget().into());
        let start = Instant::now();
        loop {
            for _ in 0..PROBES {
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
}
