//! The handle's side of a task: what is known of it, its dispatcher and its worker, and how its joiner waits.

use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::panic::Location;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde::de::DeserializeOwned;

use super::function;
use crate::process::pool::chunk::{ChunkRemote, Gathered};
use crate::process::pool::dispatcher::Dispatcher;
use crate::process::pool::link::WorkerLink;
use crate::process::service;
use crate::task::slot::Slot;
use crate::task::{Backend, Cause, CodecStage, Core, Interrupted, Kind, TaskError, failure};
use crate::task::{registry, wait};

/// What a `Task` of a process holds on to. The result waits encoded: it is decoded by the joiner,
/// on whose thread an `R` may live.
pub(in crate::process) struct Remote<R> {
    pub(in crate::process) record: Record,
    result: PhantomData<fn() -> R>,
}

/// A [`Remote`] without the result's type.
pub(in crate::process) struct Record {
    core: Core<Answer>,
    /// Who has the task; none before it is submitted.
    pub(in crate::process) submitted_to: OnceLock<Arc<Dispatcher>>,
    /// Where it stands in the dispatcher's queue, or stood there last; used under the dispatcher's lock.
    position: AtomicU64,
    /// The worker that has it, by the number of its link; 0 for none. Written under the dispatcher's lock.
    pub(in crate::process) at_post: AtomicU64,
}

/// What a task ends with, encoded.
#[derive(Debug)]
pub(in crate::process) enum Answer {
    /// Of a task with one argument.
    One(Vec<u8>, Vec<OwnedFd>),
    /// Of a task with many.
    Many(Gathered),
}

impl<R> Remote<R> {
    /// Enters the task in the registry.
    pub(in crate::process) fn new(
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
    ) -> Remote<R> {
        Remote { record: Record::new(name, location), result: PhantomData }
    }
}

impl Record {
    /// Enters the task in the registry.
    pub(in crate::process) fn new(
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
    ) -> Record {
        let core = Core::new(Kind::Process, name, location);
        let (position, at_post) = (AtomicU64::new(0), AtomicU64::new(0));
        Record { core, submitted_to: OnceLock::new(), position, at_post }
    }

    pub(in crate::process) fn core(&self) -> &Core<Answer> {
        &self.core
    }

    /// The task's number.
    pub(in crate::process) fn id(&self) -> u64 {
        self.core.entry.id().get()
    }

    pub(in crate::process) fn dispatcher(&self) -> Option<&Arc<Dispatcher>> {
        self.submitted_to.get()
    }

    pub(in crate::process) fn position(&self) -> u64 {
        self.position.load(Relaxed)
    }

    pub(in crate::process) fn set_position(&self, position: u64) {
        self.position.store(position, Relaxed);
    }

    /// The worker that has the task, by the number of its link; 0 for none.
    pub(in crate::process) fn post(&self) -> u64 {
        self.at_post.load(Relaxed)
    }

    fn is_done(&self) -> bool {
        self.core.outcome.is_done()
    }

    /// Asks the task to end.
    pub(in crate::process) fn cancel(&self, reason: Option<Arc<str>>) {
        if let Some(dispatcher) = self.dispatcher()
            && !self.is_done()
        {
            dispatcher.stop(self, Cause::Cancelled { reason });
        }
    }

    /// A joiner is about to wait: looks for answers itself as long as that pays.
    pub(in crate::process) fn linger(&self) {
        if let Some((dispatcher, link)) = self.link() {
            link.linger(dispatcher, &|| self.is_done());
        }
    }

    /// A joiner waits.
    pub(in crate::process) fn park(&self, deadline: Option<Instant>) -> Result<(), Interrupted> {
        match self.link() {
            Some((dispatcher, link)) => link.park(dispatcher, &|| self.is_done(), deadline),
            None => wait::for_wake(deadline),
        }
    }

    /// None in a copy of the program, by `fork`: what it would take out of the rings is the other's.
    fn link(&self) -> Option<(&Arc<Dispatcher>, Arc<WorkerLink>)> {
        let dispatcher = self.submitted_to.get().filter(|_| service::get().is_ok())?;
        Some((dispatcher, dispatcher.link(self.post())?))
    }

    /// How far the task says that it has come.
    pub(in crate::process) fn progress(&self) -> Option<f64> {
        let link = self.link();
        let at_worker = link.and_then(|(_, link)| link.place.progress(self.id()));
        at_worker.or_else(|| self.core.entry.slot.progress())
    }

    /// Calls code of the user (an encoder, a decoder) on behalf of the task; a panic is the task's.
    pub(in crate::process) fn call<T>(&self, function: impl FnOnce() -> T) -> Result<T, TaskError> {
        in_the_name_of(&self.core, function)
    }
}

impl<R: DeserializeOwned + Send + 'static> Backend for Remote<R> {
    type Raw = Answer;
    type Value = R;

    fn core(&self) -> &Core<Answer> {
        &self.record.core
    }

    fn finish(&self, answer: Answer) -> Result<R, TaskError> {
        let Answer::One(bytes, descriptors) = answer else {
            unreachable!("a task of one argument has one answer");
        };
        self.record.call_or_fail(|| function::decode(&bytes, descriptors, CodecStage::DecodeResult))
    }

    fn cancel(self: Arc<Self>, reason: Option<Arc<str>>) {
        self.record.cancel(reason);
    }

    fn linger(&self) {
        self.record.linger();
    }

    fn park(&self, deadline: Option<Instant>) -> Result<(), Interrupted> {
        self.record.park(deadline)
    }

    fn progress(&self) -> Option<f64> {
        self.record.progress()
    }
}

fn in_the_name_of<T>(core: &Core<Answer>, function: impl FnOnce() -> T) -> Result<T, TaskError> {
    /// Gives the caller its own name back.
    struct Caller(Option<&'static Slot>);
    impl Drop for Caller {
        fn drop(&mut self) {
            registry::set_current(self.0);
        }
    }
    let _caller = Caller(registry::current());
    registry::set_current(Some(core.entry.slot));
    failure::catch(|| Some(core.entry.info()), function)
}

/// A [`Remote`] that can be shared without the result's type.
pub(in crate::process) trait Submitted: Send + Sync {
    fn record(&self) -> &Record;
}

impl<R: DeserializeOwned + Send + 'static> Submitted for Remote<R> {
    fn record(&self) -> &Record {
        &self.record
    }
}

impl<R: DeserializeOwned + Send + 'static> Submitted for ChunkRemote<R> {
    fn record(&self) -> &Record {
        &self.record
    }
}
