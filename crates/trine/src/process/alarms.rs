//! Moments at which the service looks at a task again: its deadline, and the end of its grace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::job::Submitted;

/// The moments, each with its task's number, and the task.
///
/// An alarm is set under the lock of the task's crew and taken back when the task has left the crew,
/// so none outlives its task. A crew's lock may be held while this one is taken, never the reverse.
#[derive(Default)]
pub(super) struct Alarms(Mutex<BTreeMap<(Instant, u64), Arc<dyn Submitted>>>);

impl Alarms {
    /// Whether the alarm is now the first of all.
    #[must_use = "the service may sleep beyond it"]
    pub(super) fn set(&self, at: Instant, task: Arc<dyn Submitted>) -> bool {
        let key = (at, task.record().id());
        let mut alarms = self.lock();
        alarms.insert(key, task);
        alarms.first_key_value().is_some_and(|(first, _)| *first == key)
    }

    /// Takes an alarm back, if it has not gone off.
    pub(super) fn unset(&self, at: Instant, task: u64) {
        let task = self.lock().remove(&(at, task));
        // Without the lock: the last reference may run code of others.
        drop(task);
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.lock().first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the first alarm whose time has come.
    pub(super) fn pop(&self, now: Instant) -> Option<Arc<dyn Submitted>> {
        let mut alarms = self.lock();
        alarms.first_entry().filter(|first| first.key().0 <= now).map(|first| first.remove())
    }

    /// Nothing under this lock can panic half way through a change.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Instant, u64), Arc<dyn Submitted>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
