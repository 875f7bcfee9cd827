//! Moments at which the service looks at something again: at a task (its deadline, the end of its grace), or at a
//! whole dispatcher (the limits of its tasks, workers that rest for long, retries).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::process::pool::dispatcher::Dispatcher;
use crate::process::task::record::Submitted;

/// Who is looked at.
pub(in crate::process) enum Whom {
    Task(Arc<dyn Submitted>),
    /// Not kept alive by its alarm.
    Dispatcher(Weak<Dispatcher>),
}

/// The same, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::process) enum Key {
    Task(u64),
    /// Its address, which nobody else has as long as a `Weak` of it is here.
    Dispatcher(usize),
}

impl Whom {
    pub(in crate::process) fn key(&self) -> Key {
        match self {
            Whom::Task(task) => Key::Task(task.record().id()),
            Whom::Dispatcher(dispatcher) => Key::of(dispatcher.as_ptr()),
        }
    }

    /// The time has come.
    pub(in crate::process) fn look(self) {
        match self {
            Whom::Task(task) => {
                if let Some(dispatcher) = task.record().dispatcher() {
                    dispatcher.look_at(task.record());
                }
            }
            Whom::Dispatcher(dispatcher) => {
                if let Some(dispatcher) = dispatcher.upgrade() {
                    dispatcher.look();
                }
            }
        }
    }
}

impl Key {
    pub(in crate::process) fn of(dispatcher: *const Dispatcher) -> Key {
        Key::Dispatcher(dispatcher.addr())
    }
}

type Moments = BTreeMap<(Instant, Key), Whom>;

/// The moments, and who is looked at then.
///
/// An alarm is set under the dispatcher's lock, and taken back when the task has left the dispatcher or the dispatcher is gone. A
/// dispatcher's lock may be held while this one is taken, never the reverse.
#[derive(Default)]
pub(in crate::process) struct Alarms(Mutex<Moments>);

impl Alarms {
    /// Whether the alarm is now the first of all.
    #[must_use = "the service may sleep beyond it"]
    pub(in crate::process) fn set(&self, at: Instant, whom: Whom) -> bool {
        let key = (at, whom.key());
        let mut alarms = self.lock();
        let before = alarms.insert(key, whom);
        let is_first = alarms.first_key_value().is_some_and(|(first, _)| *first == key);
        drop(alarms);
        drop(before);
        is_first
    }

    /// Takes an alarm back, if it has not gone off.
    pub(in crate::process) fn unset(&self, at: Instant, key: Key) {
        let whom = self.lock().remove(&(at, key));
        // Without the lock: the last reference may run code of others.
        drop(whom);
    }

    pub(in crate::process) fn first(&self) -> Option<Instant> {
        self.lock().first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the first alarm whose time has come.
    pub(in crate::process) fn pop(&self, now: Instant) -> Option<Whom> {
        let mut alarms = self.lock();
        alarms.first_entry().filter(|first| first.key().0 <= now).map(|first| first.remove())
    }

    /// Nothing under this lock can panic half way through a change.
    fn lock(&self) -> MutexGuard<'_, Moments> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
