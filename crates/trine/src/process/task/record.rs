//! The typeless part of a task that its handle and its job share: registry entry, outcome, and
//! place in the pool.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::gather::Gathered;
use super::value::{CodecError, MAX_RESULT};
use crate::sys::io::arrived::Arrived;
use crate::task::registry;
use crate::task::slot::Slot;
use crate::task::{Cause, Core, Kind, TaskError, failure};

/// The state of a task that does not depend on the type of its result.
pub(in crate::process) struct Record {
    core: Core<Answer>,
    /// The position in the dispatcher's queue, current or last; used under the dispatcher's lock.
    queue_position: AtomicU64,
    /// The number of the worker that has the task; 0 for none. Written under the dispatcher's lock.
    worker: AtomicU64,
    /// The most bytes of a result.
    max_result: u64,
}

/// The encoded result of a task.
#[derive(Debug)]
pub(in crate::process) enum Answer {
    /// The result of a task with one argument, and the descriptors that belong to it.
    One(Vec<u8>, Arrived),
    /// The results of a task with many arguments.
    Many(Gathered),
}

/// A task handle with its result type erased, as a job holds it.
pub(in crate::process) trait Submitted: Send + Sync {
    fn record(&self) -> &Record;
}

impl Record {
    /// Creates a record, and enters the task in the registry.
    pub(in crate::process) fn new(
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
    ) -> Record {
        let core = Core::new(Kind::Process, name, location);
        let (queue_position, worker) = (AtomicU64::new(0), AtomicU64::new(0));
        Record { core, queue_position, worker, max_result: MAX_RESULT }
    }

    /// Sets the most bytes of a result.
    pub(in crate::process) fn with_max_result(mut self, bytes: u64) -> Record {
        self.max_result = bytes;
        self
    }

    /// Returns the most bytes of a result.
    pub(in crate::process) fn max_result(&self) -> u64 {
        self.max_result
    }

    pub(in crate::process) fn core(&self) -> &Core<Answer> {
        &self.core
    }

    /// Returns the task's number.
    pub(in crate::process) fn id(&self) -> u64 {
        self.core.entry.id().get()
    }

    pub(in crate::process) fn queue_position(&self) -> u64 {
        self.queue_position.load(Relaxed)
    }

    pub(in crate::process) fn set_queue_position(&self, position: u64) {
        self.queue_position.store(position, Relaxed);
    }

    /// Returns the number of the worker that has the task; 0 for none.
    pub(in crate::process) fn worker(&self) -> u64 {
        self.worker.load(Relaxed)
    }

    pub(super) fn set_worker(&self, worker: u64) {
        self.worker.store(worker, Relaxed);
    }

    pub(in crate::process) fn is_done(&self) -> bool {
        self.core.outcome.is_done()
    }

    /// Calls code of the user (an encoder, a decoder) as the task: a panic becomes the task's
    /// error.
    pub(in crate::process) fn call<T>(&self, function: impl FnOnce() -> T) -> Result<T, TaskError> {
        /// Restores the calling task.
        struct Caller(Option<&'static Slot>);
        impl Drop for Caller {
            fn drop(&mut self) {
                registry::set_current(self.0);
            }
        }
        let _caller = Caller(registry::current());
        registry::set_current(Some(self.core.entry.slot));
        failure::catch(|| Some(self.core.entry.info()), function)
    }

    /// Like [`call`](Record::call), for code that may also fail.
    pub(in crate::process) fn call_or_fail<T>(
        &self,
        function: impl FnOnce() -> Result<T, CodecError>,
    ) -> Result<T, TaskError> {
        self.call(function)?.map_err(|error| self.error(error.into_cause()))
    }

    /// Returns an error of this task.
    pub(in crate::process) fn error(&self, cause: Cause) -> TaskError {
        TaskError::new(cause, Some(self.core.entry.info()))
    }
}

/// A task without a handle, for tests.
#[cfg(test)]
impl Submitted for Record {
    fn record(&self) -> &Record {
        self
    }
}
