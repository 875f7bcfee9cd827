//! The handle's side of a task: how its owner waits for it, cancels it, and gets its result.
//!
//! A map of tiny tasks sends many arguments of one function as one task, a chunk. The worker sends
//! the reply to each argument as soon as it is there. So a worker that dies costs the one argument
//! that it had begun: those before have their replies, those behind go to another worker.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::dispatcher::Dispatcher;
use super::link::WorkerLink;
use super::replies;
use crate::process::task::gather::{Gathered, Item};
use crate::process::task::record::{Answer, Record, Submitted};
use crate::process::task::value;
use crate::task::{Backend, Cause, Core, Interrupted, TaskError, wait};

/// The handle of a task with one argument. The result waits encoded: the joiner decodes it, on
/// whose thread an `R` may live.
pub(super) struct Remote<R> {
    task: RemoteTask,
    result: PhantomData<fn() -> R>,
}

/// The handle of a task with many arguments.
pub(super) struct ChunkRemote<R> {
    task: RemoteTask,
    result: PhantomData<fn() -> R>,
}

/// The result of a task with many arguments.
#[derive(Debug)]
pub(crate) struct Chunk<R> {
    /// The result for each argument, in order.
    pub(crate) results: Vec<Result<R, TaskError>>,
    /// The time that the worker took; `None` if it did not complete the task.
    pub(crate) took: Option<Duration>,
}

/// A handle without the result's type.
struct RemoteTask {
    record: Record,
    /// The dispatcher that the task is submitted to.
    dispatcher: Arc<Dispatcher>,
}

impl<R> Remote<R> {
    pub(super) fn new(record: Record, dispatcher: &Arc<Dispatcher>) -> Remote<R> {
        let task = RemoteTask { record, dispatcher: Arc::clone(dispatcher) };
        Remote { task, result: PhantomData }
    }
}

impl<R> ChunkRemote<R> {
    pub(super) fn new(record: Record, dispatcher: &Arc<Dispatcher>) -> ChunkRemote<R> {
        let task = RemoteTask { record, dispatcher: Arc::clone(dispatcher) };
        ChunkRemote { task, result: PhantomData }
    }
}

impl RemoteTask {
    fn cancel(&self, reason: Option<Arc<str>>) {
        if !self.record.is_done() {
            self.dispatcher.stop(&self.record, Cause::Cancelled { reason });
        }
    }

    fn linger(&self) {
        if let Some(link) = self.link() {
            replies::linger(&self.dispatcher, &link, &|| self.record.is_done());
        }
    }

    fn park(&self, deadline: Option<Instant>) -> Result<(), Interrupted> {
        match self.link() {
            Some(link) => {
                let done = || self.record.is_done();
                replies::park(&self.dispatcher, &link, &done, deadline)
            }
            None => wait::for_wake(deadline),
        }
    }

    /// Returns the worker that has the task.
    ///
    /// Returns none in a copy of the program, made by `fork`: replies that the copy took out of the
    /// rings would be lost to the original.
    fn link(&self) -> Option<Arc<WorkerLink>> {
        self.dispatcher.service()?;
        self.dispatcher.link(self.record.worker())
    }

    fn progress(&self) -> Option<f64> {
        let at_worker = self.link().and_then(|link| link.slot.progress(self.record.id()));
        at_worker.or_else(|| self.record.core().entry.slot.progress())
    }
}

impl<R: DeserializeOwned + Send + 'static> Backend for Remote<R> {
    type Raw = Answer;
    type Value = R;

    fn core(&self) -> &Core<Answer> {
        self.task.record.core()
    }

    fn finish(&self, answer: Answer) -> Result<R, TaskError> {
        let Answer::One(bytes, mut descriptors) = answer else {
            unreachable!("a task of one argument has one answer");
        };
        let record = &self.task.record;
        record.call_or_fail(|| value::decode_result(record.max_result(), &bytes, &mut descriptors))
    }

    fn cancel(self: Arc<Self>, reason: Option<Arc<str>>) {
        self.task.cancel(reason);
    }

    fn is_lost_in_copy(&self) -> bool {
        true
    }

    fn linger(&self) {
        self.task.linger();
    }

    fn park(&self, deadline: Option<Instant>) -> Result<(), Interrupted> {
        self.task.park(deadline)
    }

    fn progress(&self) -> Option<f64> {
        self.task.progress()
    }
}

impl<R: DeserializeOwned + Send + 'static> Backend for ChunkRemote<R> {
    type Raw = Answer;
    type Value = Chunk<R>;

    fn core(&self) -> &Core<Answer> {
        self.task.record.core()
    }

    fn finish(&self, answer: Answer) -> Result<Chunk<R>, TaskError> {
        let Answer::Many(Gathered { bytes, items, nanos }) = answer else {
            unreachable!("a task of many arguments has many answers");
        };
        let record = &self.task.record;
        let mut results = Vec::with_capacity(items.len());
        let mut items = items.into_iter().flatten();
        let decode = |item| match item {
            Item::Failed(error) | Item::Absent(error) => Err(*error),
            Item::Value { range, mut descriptors } => {
                value::decode_result(record.max_result(), &bytes[range], &mut descriptors)
                    .map_err(|error| record.error(error.into_cause()))
            }
        };
        // A decoder that panics ends the call; the next call goes on behind its item.
        while let Err(error) = record.call(|| results.extend(items.by_ref().map(decode))) {
            results.push(Err(error));
        }
        Ok(Chunk { results, took: (nanos > 0).then(|| Duration::from_nanos(nanos.into())) })
    }

    fn cancel(self: Arc<Self>, reason: Option<Arc<str>>) {
        self.task.cancel(reason);
    }

    fn is_lost_in_copy(&self) -> bool {
        true
    }

    fn linger(&self) {
        self.task.linger();
    }

    fn park(&self, deadline: Option<Instant>) -> Result<(), Interrupted> {
        self.task.park(deadline)
    }

    fn progress(&self) -> Option<f64> {
        self.task.progress()
    }
}

impl<R: DeserializeOwned + Send + 'static> Submitted for Remote<R> {
    fn record(&self) -> &Record {
        &self.task.record
    }
}

impl<R: DeserializeOwned + Send + 'static> Submitted for ChunkRemote<R> {
    fn record(&self) -> &Record {
        &self.task.record
    }
}
