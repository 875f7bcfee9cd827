//! Moments at which the service has a pool look at something: at a task (its deadline, the end of
//! its grace), or at the whole pool (limits of its tasks, idle workers, retries).
//!
//! The type `P` of a pool is not known here, so that the pool itself can set alarms.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::process::task::record::Submitted;

/// The target of an alarm.
pub(super) struct Alarm<P> {
    /// Not kept alive by its alarm.
    pub(super) pool: Weak<P>,
    /// The task to look at; the whole pool if `None`.
    pub(super) task: Option<Arc<dyn Submitted>>,
}

/// The number of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Task(u64),
    /// The pool's address, which no other pool has while a `Weak` of it is kept.
    Pool(usize),
}

impl<P> Alarm<P> {
    fn key(&self) -> Key {
        match &self.task {
            Some(task) => Key::Task(task.record().id()),
            None => Key::of(self.pool.as_ptr()),
        }
    }
}

impl Key {
    pub(super) fn of<P>(pool: *const P) -> Key {
        Key::Pool(pool.addr())
    }
}

type Moments<P> = BTreeMap<(Instant, Key), Alarm<P>>;

/// The alarms that have not gone off, in order.
///
/// An alarm is set under the pool's lock, and taken back when the task has left the pool or the
/// pool is dropped. A pool's lock may be held while taking this one, never the reverse.
pub(super) struct Alarms<P>(Mutex<Moments<P>>);

impl<P> Alarms<P> {
    pub(super) fn new() -> Alarms<P> {
        Alarms(Mutex::new(BTreeMap::new()))
    }

    /// Sets an alarm. Returns true if it is now the first of all.
    #[must_use = "the service may sleep beyond it"]
    pub(super) fn set(&self, at: Instant, alarm: Alarm<P>) -> bool {
        let key = (at, alarm.key());
        let mut alarms = self.lock();
        let before = alarms.insert(key, alarm);
        let is_first = alarms.first_key_value().is_some_and(|(first, _)| *first == key);
        drop(alarms);
        drop(before);
        is_first
    }

    /// Takes an alarm back, if it has not gone off.
    pub(super) fn unset(&self, at: Instant, key: Key) {
        let alarm = self.lock().remove(&(at, key));
        // Without the lock: the last reference to a task may run code of its user.
        drop(alarm);
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.lock().first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the first alarm if its moment has come.
    pub(super) fn pop(&self, now: Instant) -> Option<Alarm<P>> {
        let mut alarms = self.lock();
        alarms.first_entry().filter(|first| first.key().0 <= now).map(|first| first.remove())
    }

    /// Locks. Nothing under this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, Moments<P>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
