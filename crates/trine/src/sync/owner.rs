//! The holder of a lock, so that a task that locks twice panics instead of waiting for itself.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::task::{registry, wait};

/// The number of the task or thread that holds a lock; 0 for none. No later task has that number,
/// so a guard may outlive its task.
///
/// Only its own number means anything to a caller. It reads that number only if it has written it
/// and no other party has written since. So relaxed ordering is enough: the holder writes after it
/// has locked, and clears before it unlocks.
pub(super) struct Owner(AtomicU64);

impl Owner {
    pub(super) const fn new() -> Owner {
        Owner(AtomicU64::new(0))
    }

    /// Notes the caller, which has locked, as the holder.
    #[inline(always)]
    pub(super) fn set(&self) {
        self.0.store(registry::caller(), Relaxed);
    }

    /// Clears the holder, which is about to unlock.
    #[inline(always)]
    pub(super) fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    /// Panics if the caller, about to wait for the lock, holds it, unless something ends that wait:
    /// a deadline in force, or the cancellation of its task.
    #[track_caller]
    pub(super) fn panic_if_held_by_caller(&self, what: &str) {
        if self.0.load(Relaxed) == registry::caller() && !wait::has_limit() {
            panic!(
                "{what} is locked by this task already, which would wait for itself forever: \
                 drop the first guard before locking again, or pass the guard on"
            );
        }
    }
}
