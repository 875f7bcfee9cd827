//! A function that waits to be run in this process, and its task, in one allocation.

use std::cell::{RefCell, UnsafeCell};
use std::panic::Location;
use std::sync::Arc;

use super::error::{Cause, TaskError};
use super::handle::{Backend, Core};
use super::info::Kind;
use super::slot::{Request, Slot};
use super::{failure, park, registry};
use crate::sys::observe;

/// The function `F` and the outcome `T` of one task.
#[derive(Debug)]
pub(crate) struct Job<F, T> {
    core: Core<T>,
    /// Touched only by the one call of `run` or `refuse`.
    function: UnsafeCell<Option<F>>,
}

// SAFETY: the function is moved out on one thread, by the only call of `run` or `refuse`, which the
// claim of the task makes the only one. Nothing else touches it. `Core` is `Sync` for a `Send`
// value.
unsafe impl<F: Send, T: Send> Sync for Job<F, T> {}

impl<F, T> Job<F, T> {
    /// Makes a job whose task is entered in the registry.
    pub(crate) fn new(
        kind: Kind,
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
        function: F,
    ) -> Job<F, T> {
        failure::install_hook();
        Job { core: Core::new(kind, name, location), function: UnsafeCell::new(Some(function)) }
    }

    /// Returns the part that tasks of every kind have.
    pub(crate) fn core(&self) -> &Core<T> {
        &self.core
    }
}

/// A [`Job`] with its types erased, for queues.
pub(crate) trait Run: Send + Sync {
    /// Returns the task's record.
    fn slot(&self) -> &'static Slot;

    /// Calls the function on the current stack and stores its outcome. Never unwinds.
    ///
    /// # Safety
    ///
    /// The caller has [claimed](Slot::claim) the task, and calls `run` or `refuse` once.
    unsafe fn run(&self);

    /// Ends the task without calling its function, which is dropped here as if by the task.
    ///
    /// # Safety
    ///
    /// See [`run`](Run::run).
    unsafe fn refuse(&self, cause: Cause);
}

impl<F, T> Run for Job<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    fn slot(&self) -> &'static Slot {
        self.core.entry.slot
    }

    unsafe fn run(&self) {
        // SAFETY: the caller makes this the only access, ever.
        let function = unsafe { (*self.function.get()).take() };
        let function = function.expect("a job runs once");
        let result = failure::catch(|| Some(self.core.entry.info()), function);
        // SAFETY: once, by the caller's promise.
        unsafe { self.core.complete(result) };
    }

    unsafe fn refuse(&self, cause: Cause) {
        let outer = park::act_as(Some(self.slot()));
        set_refusal(Some(cause.clone()));
        // A destructor of the function may panic; that must not stop the refusal. It is dropped in
        // place, so that an optimised build moves no large function to the caller's stack.
        // SAFETY: the caller makes this the only access, ever.
        let drop_function = || unsafe { *self.function.get() = None };
        let dropped = failure::catch(|| Some(self.core.entry.info()), drop_function);
        set_refusal(None);
        park::act_as(outer);
        let error = TaskError::new(cause, Some(self.core.entry.info()));
        // SAFETY: once, by the caller's promise.
        unsafe { self.core.complete(Err(dropped.err().unwrap_or(error))) };
    }
}

thread_local! {
    /// The reason for which the function that is being dropped was not called.
    static REFUSAL: RefCell<Option<Cause>> = const { RefCell::new(None) };
}

/// Notes the cause for the destructors of the function. At the end of a thread, where the storage
/// is destroyed, the refusal has no cause.
fn set_refusal(cause: Option<Cause>) {
    _ = REFUSAL.try_with(|refusal| *refusal.borrow_mut() = cause);
}

/// Takes the reason for which a function is dropped uncalled, for its first destructor.
pub(crate) fn refusal() -> Option<Cause> {
    REFUSAL.try_with(|refusal| refusal.borrow_mut().take()).ok().flatten()
}

impl<F, T> Backend for Job<F, T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    type Raw = T;
    type Value = T;

    fn core(&self) -> &Core<T> {
        &self.core
    }

    fn finish(&self, value: T) -> Result<T, TaskError> {
        Ok(value)
    }

    fn cancel(self: Arc<Self>, reason: Option<Arc<str>>) {
        match self.slot().request_cancel(reason) {
            // SAFETY: claimed.
            Request::Claimed => unsafe { self.refuse(self.slot().cancellation()) },
            Request::Wake => self.slot().wake_thread(),
            Request::Nothing => {}
        }
    }

    fn is_lost_in_copy(&self) -> bool {
        // A copy may have threads of its own. A task without one has begun nowhere, or will here.
        let thread = self.slot().os_id();
        thread != 0 && !observe::has_thread(thread)
    }
}

/// Runs a job on the calling thread, which is its task for that time. Does nothing if the job is
/// claimed already: it was cancelled.
///
/// # Safety
///
/// `run` or `refuse` are called once; see [`Run::run`]. The claim is made here.
pub(crate) unsafe fn run_on_this_thread(job: &dyn Run) {
    if !job.slot().claim() {
        return;
    }
    let outer = registry::current();
    job.slot().set_os_id(crate::sys::observe::thread_id());
    registry::set_current(Some(job.slot()));
    // SAFETY: the caller's promise.
    unsafe { job.run() };
    registry::set_current(outer);
}
