//! The coroutines of one carrier that wait for a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::fiber::Fiber;

/// Names one wait for as long as it is pending. Waits for the same instant end in the order in which
/// they began.
pub(super) type Key = (Instant, u64);

/// Pending waits, by time. Inserting, cancelling and expiring cost O(log n).
#[derive(Default)]
pub(super) struct Timers {
    pending: BTreeMap<Key, Arc<Fiber>>,
    begun: u64,
}

impl Timers {
    pub(super) fn insert(&mut self, deadline: Instant, fiber: Arc<Fiber>) -> Key {
        self.begun += 1;
        let key = (deadline, self.begun);
        self.pending.insert(key, fiber);
        key
    }

    /// Takes a wait back; one that has expired already is gone.
    pub(super) fn cancel(&mut self, key: &Key) {
        self.pending.remove(key);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.pending.first_key_value().map(|(key, _)| key.0)
    }

    /// Takes one wait whose time has come.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Arc<Fiber>> {
        let first = self.pending.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}
