//! A task on the master's side: the call as it will cross, and the one right to end the task.

use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::task::registry::{self, Slot};
use crate::task::{Cause, CodecStage, Core, Handle, TaskError, failure};

/// What a `Task` of a process holds on to. The result waits encoded: it is decoded by the joiner,
/// on whose thread an `R` may live.
pub(super) struct Remote<R> {
    pub(super) core: Core<Vec<u8>>,
    pub(super) result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned + Send + 'static> Handle for Remote<R> {
    type Raw = Vec<u8>;
    type Value = R;

    fn core(&self) -> &Core<Vec<u8>> {
        &self.core
    }

    fn finish(&self, raw: Vec<u8>) -> Result<R, TaskError> {
        in_the_name_of(&self.core, || postcard::from_bytes(&raw))?.map_err(|error| {
            let stage = CodecStage::DecodeResult;
            let cause = Cause::Codec { stage, message: error.to_string() };
            TaskError::new(cause, Some(self.core.entry.info()))
        })
    }

    fn cancel(self: Arc<Self>, _reason: Option<Arc<str>>) {}
}

/// Calls code of the user (an encoder, a decoder) on behalf of a task; a panic is the task's.
pub(super) fn in_the_name_of<T>(
    core: &Core<Vec<u8>>,
    function: impl FnOnce() -> T,
) -> Result<T, TaskError> {
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

/// The task's own end of a [`Remote`], without the result's type.
trait Ends: Send + Sync {
    fn core(&self) -> &Core<Vec<u8>>;
}

impl<R: DeserializeOwned + Send + 'static> Ends for Remote<R> {
    fn core(&self) -> &Core<Vec<u8>> {
        &self.core
    }
}

/// A task that has not ended. Exactly one exists for each; it moves from queue to worker and back.
pub(super) struct Job {
    /// `None` once the task has ended.
    task: Option<Arc<dyn Ends>>,
    /// The `RUN` frame; kept until the end, as another worker may need it.
    pub(super) call: Arc<Vec<u8>>,
    /// A `SETUP` frame for the worker that is forked for this task.
    pub(super) setup: Option<Arc<Vec<u8>>>,
    /// To how many workers it was given.
    pub(super) handed: u32,
}

impl Job {
    /// # Safety
    ///
    /// Called once for each task: a job is the one producer of its outcome.
    pub(super) unsafe fn new<R: DeserializeOwned + Send + 'static>(task: Arc<Remote<R>>) -> Job {
        Job { task: Some(task), call: Arc::default(), setup: None, handed: 0 }
    }

    fn core(&self) -> &Core<Vec<u8>> {
        self.task.as_ref().expect("the task has not ended: `settle` consumes the job").core()
    }

    /// The task's number.
    pub(super) fn id(&self) -> u64 {
        self.core().entry.id().get()
    }

    /// Notes that the process `pid` has the task now.
    pub(super) fn given_to(&mut self, pid: u32) {
        self.handed += 1;
        let slot = self.core().entry.slot;
        slot.set_os_id(pid);
        slot.set_state(registry::RUNNABLE);
    }

    /// Notes that no process has the task any more.
    pub(super) fn taken_back(&self) {
        let slot = self.core().entry.slot;
        slot.set_state(registry::NEW);
        slot.set_os_id(0);
    }

    /// Ends the task without a value.
    pub(super) fn fail(self, cause: Cause) {
        let error = TaskError::new(cause, Some(self.core().entry.info()));
        self.settle(Err(error));
    }

    /// Ends the task.
    pub(super) fn settle(mut self, result: Result<Vec<u8>, TaskError>) {
        self.end(result);
    }

    fn end(&mut self, result: Result<Vec<u8>, TaskError>) {
        let Some(task) = self.task.take() else { return };
        // The joiner's waker may be anybody's code, and must not take the service thread down.
        // SAFETY: the job is the one producer, and has just given up its task for good.
        let woken =
            panic::catch_unwind(AssertUnwindSafe(|| unsafe { task.core().complete(result) }));
        if let Err(payload) = woken {
            std::mem::forget(payload);
        }
    }
}

impl Drop for Job {
    /// No path of this crate drops a job that has not ended; if one did, nobody may wait for ever.
    fn drop(&mut self) {
        if self.task.is_some() {
            let reason = "trine has dropped the task; this is a mistake in trine".into();
            let error = TaskError::new(Cause::Lost { reason }, Some(self.core().entry.info()));
            self.end(Err(error));
        }
    }
}
