//! The contract between a [`Task`](super::Task) and the kind that runs it.

use std::convert::Infallible;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use crate::sys::process::fork_detect;
use crate::task::error::{Cause, TaskError};
use crate::task::info::Kind;
use crate::task::interrupt::Interrupted;
use crate::task::outcome::Outcome;
use crate::task::registry::Entry;
use crate::task::slot::TERMINATED;
use crate::task::{park, wait};

/// The part that tasks of every kind have: the place in the registry and the outcome.
#[derive(Debug)]
pub(crate) struct Core<T> {
    pub(crate) entry: Entry,
    pub(crate) outcome: Outcome<T>,
}

impl<T> Core<T> {
    /// Enters a new task in the registry.
    pub(crate) fn new(
        kind: Kind,
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
    ) -> Core<T> {
        Core { entry: Entry::new(kind, name, location), outcome: Outcome::new() }
    }

    /// Ends the task.
    ///
    /// # Safety
    ///
    /// Called once; see [`Outcome::complete`].
    pub(crate) unsafe fn complete(&self, result: Result<T, TaskError>) {
        self.entry.slot.set_state(TERMINATED);
        // SAFETY: the caller's promise.
        unsafe { self.outcome.complete(result) };
    }
}

/// The allocation behind a [`Task`](super::Task); each kind has its own.
pub(crate) trait Backend: Send + Sync {
    /// The type that the task leaves in its outcome.
    type Raw;
    /// The type that `join` makes of it.
    type Value;

    /// Returns the common part.
    fn core(&self) -> &Core<Self::Raw>;
    /// Turns the outcome into the value. Runs in the joiner, once.
    fn finish(&self, raw: Self::Raw) -> Result<Self::Value, TaskError>;
    /// Requests the task to end.
    fn cancel(self: Arc<Self>, reason: Option<Arc<str>>);
    /// Notes that the handle is dropped, so the task will not be joined.
    fn detached(&self) {}
    /// Lets the joiner, which is about to wait, do something for the task instead.
    fn linger(&self) {}
    /// Returns true if the task cannot go on in this process, a copy of the one that runs it: see
    /// [`lacks_threads`](fork_detect::lacks_threads).
    fn is_lost_in_copy(&self) -> bool;
    /// Returns the progress that the task has reported.
    fn progress(&self) -> Option<f64> {
        self.core().entry.slot.progress()
    }
    /// Parks the joiner until a wake-up; may return early.
    fn park(&self, deadline: Option<Instant>) -> Result<(), Interrupted> {
        wait::for_wake(deadline)
    }
}

/// A [`Backend`] with both its types erased, to be cancelled.
pub(super) trait Cancel: Send + Sync {
    fn request(self: Arc<Self>, reason: Option<Arc<str>>);
}

impl<B: Backend> Cancel for B {
    fn request(self: Arc<Self>, reason: Option<Arc<str>>) {
        self.cancel(reason);
    }
}

/// A [`Backend`] with its raw type erased, to be joined.
///
/// # Safety of the callers
///
/// The unsafe calls must be made by the one consumer of the outcome: the owner of the
/// [`Task`](super::Task).
pub(super) trait Joinable<T>: Cancel {
    fn entry(&self) -> &Entry;
    fn is_done(&self) -> bool;
    fn reported_progress(&self) -> Option<f64>;
    unsafe fn wait(&self, deadline: Option<Instant>) -> Result<bool, Interrupted>;
    unsafe fn wait_uninterrupted(&self);
    fn linger_unless_done(&self);
    unsafe fn register(&self, waker: &Waker) -> bool;
    unsafe fn look(&self) -> bool;
    unsafe fn take(&self) -> Option<Result<T, TaskError>>;
    unsafe fn detach(&self);
}

/// Ends a task of the process that this one is a copy of: its joiner would wait forever.
#[cold]
fn end_in_copy<B: Backend>(backend: &B) {
    let core = backend.core();
    let slot = core.entry.slot;
    // A task that has not begun may be cancelled at this moment, and is claimed for that.
    if backend.is_lost_in_copy() && !core.outcome.is_done() && (slot.is_claimed() || slot.claim()) {
        let reason = fork_detect::explain("the task goes on");
        let error = TaskError::new(Cause::Lost { reason }, Some(core.entry.info()));
        // SAFETY: the producer is a thread of the other process, and the caller the one consumer.
        // No canceller can become the producer: the task has begun, or was claimed here.
        unsafe { core.complete(Err(error)) };
    }
}

impl<B: Backend> Joinable<B::Value> for B {
    fn entry(&self) -> &Entry {
        &self.core().entry
    }

    fn is_done(&self) -> bool {
        self.core().outcome.is_done()
    }

    fn reported_progress(&self) -> Option<f64> {
        self.progress()
    }

    unsafe fn wait(&self, deadline: Option<Instant>) -> Result<bool, Interrupted> {
        self.linger_unless_done();
        // SAFETY: the caller's promise.
        unsafe { self.core().outcome.wait(deadline, |deadline| self.park(deadline)) }
    }

    unsafe fn wait_uninterrupted(&self) {
        if fork_detect::lacks_threads() {
            end_in_copy(self);
        }
        let park = |deadline| -> Result<(), Infallible> {
            park::park(deadline);
            Ok(())
        };
        // SAFETY: the caller's promise.
        let Ok(_done) = unsafe { self.core().outcome.wait(None, park) };
    }

    fn linger_unless_done(&self) {
        if !self.is_done() {
            if fork_detect::lacks_threads() {
                end_in_copy(self);
            }
            self.linger();
        }
    }

    unsafe fn register(&self, waker: &Waker) -> bool {
        if fork_detect::lacks_threads() {
            end_in_copy(self);
        }
        // SAFETY: the caller's promise.
        unsafe { self.core().outcome.register(waker) }
    }

    unsafe fn look(&self) -> bool {
        if !self.is_done() && fork_detect::lacks_threads() {
            end_in_copy(self);
        }
        self.is_done()
    }

    unsafe fn take(&self) -> Option<Result<B::Value, TaskError>> {
        // SAFETY: the caller's promise.
        let raw = unsafe { self.core().outcome.take() }?;
        Some(raw.and_then(|raw| self.finish(raw)))
    }

    unsafe fn detach(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.core().outcome.detach() };
        self.detached();
    }
}
