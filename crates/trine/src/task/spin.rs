//! Spinning for a moment before a sleep, for as long as that has paid off lately.
//!
//! Waking a sleeper costs 5 to 70 µs, depending on the machine. A value that arrives within that
//! time is found sooner, and cheaper for both sides, by probing for it. [`AdaptiveSpin`] learns at
//! each place how long probing pays: a success doubles the budget, a failure takes an eighth off.
//!
//! All adaptive spins learn by this rule. The loops around it differ on purpose:
//!
//! | loop | peer | budget | between two probes | in a coroutine |
//! |---|---|---|---|---|
//! | [`yield_until`] | a thread of this process | yields | a yield | no spin |
//! | `ipc/channel/spin.rs` | a process | probes | a pause | spins until a neighbour is ready |
//! | `process/wire/spin.rs` | a worker | microseconds | a pause | lets neighbours run |
//!
//! - A peer in another process may run on another processor, so those loops probe without system
//!   calls. They yield after 32 pauses (`wire`), or if there is one processor only (`ipc`).
//! - A coroutine that waits for a thread of this process spins not at all: the other coroutines of
//!   its carrier run instead, and may be the ones it waits for.
//!
//! [`yield_until`]: AdaptiveSpin::yield_until

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use super::park;

/// A budget for spinning, between `LEAST` and `MOST` of the loop's own unit.
///
/// Threads that spin at the same place share it. A lost update only makes it learn later.
#[derive(Debug)]
pub(crate) struct AdaptiveSpin<const LEAST: u32, const MOST: u32>(AtomicU32);

impl<const LEAST: u32, const MOST: u32> AdaptiveSpin<LEAST, MOST> {
    /// An eighth of a budget under 8 is 0, so small budgets need another unit taken off to shrink.
    const EXTRA: u32 = if LEAST < 8 { 1 } else { 0 };

    pub(crate) const fn new() -> AdaptiveSpin<LEAST, MOST> {
        AdaptiveSpin(AtomicU32::new(MOST))
    }

    /// Returns the budget of the next spin.
    #[inline]
    pub(crate) fn budget(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// Adapts the budget to the outcome of a spin.
    #[inline]
    pub(crate) fn learn(&self, succeeded: bool) {
        let budget = self.budget();
        let next = if succeeded {
            (2 * budget).min(MOST)
        } else {
            (budget - budget / 8).saturating_sub(Self::EXTRA).max(LEAST)
        };
        self.0.store(next, Relaxed);
    }

    /// Lets other threads run until `done` returns true, or for as many yields as the budget
    /// allows. Does nothing in a coroutine.
    pub(crate) fn yield_until(&self, done: impl Fn() -> bool) {
        if park::is_coroutine() {
            return;
        }
        for _ in 0..self.budget() {
            if done() {
                return self.learn(true);
            }
            std::thread::yield_now();
        }
        self.learn(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps<const LEAST: u32, const MOST: u32>(outcomes: &[bool]) -> Vec<u32> {
        let spin = AdaptiveSpin::<LEAST, MOST>::new();
        outcomes
            .iter()
            .map(|outcome| {
                spin.learn(*outcome);
                spin.budget()
            })
            .collect()
    }

    #[test]
    fn success_doubles_a_budget_and_failure_takes_an_eighth_off() {
        assert_eq!(steps::<16, 512>(&[false, false, true]), [448, 392, 512]);
        assert_eq!(steps::<2, 50>(&[false, false, true]), [43, 37, 50]);
    }

    #[test]
    fn a_budget_reaches_its_least_and_stays_there() {
        assert_eq!(steps::<2, 50>(&[false; 40])[39], 2);
        assert_eq!(steps::<8, 256>(&[false; 60])[59], 8);
        assert_eq!(steps::<16, 512>(&[false; 60])[59], 16);
    }
}
