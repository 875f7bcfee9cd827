//! Who holds a lock, so that a task that locks it twice is told, instead of waiting for itself.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use crate::task::registry;

/// The number of the task or thread that holds a lock; 0 for none.
///
/// Only a caller's own number means anything to it: it reads that number only if it has written it
/// and nobody, itself included, has written since. So relaxed ordering is enough: the holder writes
/// after it has locked, and clears before it unlocks.
pub(super) struct Owner(AtomicUsize);

impl Owner {
    pub(super) const fn new() -> Owner {
        Owner(AtomicUsize::new(0))
    }

    /// The caller has locked.
    #[inline(always)]
    pub(super) fn set(&self) {
        self.0.store(registry::caller(), Relaxed);
    }

    /// The holder is about to unlock.
    #[inline(always)]
    pub(super) fn clear(&self) {
        self.0.store(0, Relaxed);
    }

    /// Panics if the caller, who is about to wait for the lock for good, holds it.
    #[track_caller]
    pub(super) fn refuse_caller(&self, what: &str) {
        let caller = registry::caller();
        if caller != 0 && self.0.load(Relaxed) == caller {
            panic!(
                "{what} is locked by this task already, which would wait for itself for good: \
                 drop the first guard before locking again, or pass the guard on"
            );
        }
    }
}
