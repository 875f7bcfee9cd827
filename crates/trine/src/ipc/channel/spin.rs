//! Spinning before a sleep, at one end of a channel.
//!
//! The loop differs from the others over [`AdaptiveSpin`] (`task/spin.rs` compares them) because
//! the peer is another process. It may run on another processor at the same time, so with several
//! processors the loop probes without system calls. A coroutine spins too: waking it costs as much
//! as waking a thread.

use std::hint;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::task::spin::AdaptiveSpin;
use crate::task::wait;

/// Least and largest budget, in probes.
const LEAST: u32 = 16;
const MOST: u32 = 512;
/// Probes between two looks at the carrier's other coroutines and at the clock.
const PROBES: u32 = 16;
/// Longest spin. Yielding to a thread that never yields back costs a full time slice per probe.
const LONGEST: Duration = Duration::from_micros(200);

/// A spin whose budget is a number of probes.
#[derive(Debug)]
pub(super) struct ProbeSpin(AdaptiveSpin<LEAST, MOST>);

impl ProbeSpin {
    pub(super) fn new() -> ProbeSpin {
        ProbeSpin(AdaptiveSpin::new())
    }

    /// Probes until `probe` returns a value, the budget is used up, or `deadline` has passed.
    ///
    /// On one processor the thread yields between two probes. On several it does not: on a busy
    /// machine it would come back late, with its time slice used up. In a coroutine the spin ends
    /// when others of its carrier are ready: they run, then a last probe follows.
    pub(super) fn until<T>(
        &self,
        deadline: Option<Instant>,
        mut probe: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        if wait::pass() {
            return probe();
        }
        let budget = self.0.budget();
        let spins = has_several_processors();
        let end_from = |now: Instant| {
            let end = now + LONGEST;
            deadline.map_or(end, |deadline| deadline.min(end))
        };
        // A spin nearly always succeeds before it pays to read the clock.
        let mut end = if spins { None } else { Some(end_from(Instant::now())) };
        for count in 1..=if spins { budget } else { budget / 2 } {
            if let Some(found) = probe() {
                self.0.learn(true);
                return Some(found);
            }
            if spins {
                hint::spin_loop();
            } else {
                thread::yield_now();
            }
            if !spins || count.is_multiple_of(PROBES) {
                if wait::pass() {
                    return probe();
                }
                let now = Instant::now();
                if now >= *end.get_or_insert_with(|| end_from(now)) {
                    break;
                }
            }
        }
        self.0.learn(false);
        None
    }
}

/// Returns true if the peer can run on another processor during the spin.
fn has_several_processors() -> bool {
    static SEVERAL: OnceLock<bool> = OnceLock::new();
    *SEVERAL.get_or_init(|| thread::available_parallelism().is_ok_and(|count| count.get() > 1))
}
