//! The local coroutines of a thread that is none of the scheduler's.

use std::sync::{Arc, Weak};

use super::super::fiber::Fiber;

/// The message for a local coroutine that nothing would run.
pub(super) const TOO_LATE: &str =
    "a local coroutine was spawned at the end of its thread: nothing would run it";

/// The local coroutines of one thread.
#[derive(Default)]
pub(super) struct Locals {
    /// The number of the next one.
    next: u64,
    /// Those that may be unfinished, in the order of their numbers.
    alive: Vec<(u64, Weak<Fiber>)>,
    /// The length of `alive` at which those that have ended are removed.
    purge_at: usize,
    /// True while those are dropped that the end of the thread keeps from starting: no others may
    /// be spawned then.
    pub(super) closed: bool,
}

impl Locals {
    pub(super) fn add(&mut self, fiber: &Arc<Fiber>) {
        if self.alive.len() >= self.purge_at {
            self.alive.retain(|(_, fiber)| is_unfinished(fiber));
            self.purge_at = 2 * self.alive.len() + 16;
        }
        self.alive.push((self.next, Arc::downgrade(fiber)));
        self.next += 1;
    }

    /// Returns the number of the next one.
    pub(super) fn next_number(&self) -> u64 {
        self.next
    }

    /// Returns those with numbers from `first` on.
    pub(super) fn since(&self, first: u64) -> Vec<Arc<Fiber>> {
        let from = self.alive.partition_point(|(number, _)| *number < first);
        self.alive[from..].iter().filter_map(|(_, fiber)| fiber.upgrade()).collect()
    }

    /// Returns true if one of those with numbers from `first` on is unfinished.
    pub(super) fn has_unfinished(&mut self, first: u64) -> bool {
        while let Some((number, fiber)) = self.alive.last() {
            if *number < first {
                return false;
            }
            if is_unfinished(fiber) {
                return true;
            }
            self.alive.pop();
        }
        false
    }
}

fn is_unfinished(fiber: &Weak<Fiber>) -> bool {
    fiber.upgrade().is_some_and(|fiber| !fiber.has_ended())
}
