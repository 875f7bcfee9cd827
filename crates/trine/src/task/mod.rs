//! The task: one handle, one outcome, one error for coroutines, threads and processes.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | [`Task`], [`Canceller`], [`list`] |
//! | `info.rs` | [`TaskId`], [`Kind`], [`State`], [`TaskInfo`] |
//! | `error.rs` | [`TaskError`] and its [`Cause`] |
//! | `outcome.rs` | the cell in which a result waits for its joiner |
//! | `cancel.rs`, `interrupt.rs` | what ends a wait from outside |
//! | `progress.rs` | how far a task says that it has come |
//! | `park.rs` | waiting, for coroutines and threads alike |
//! | `spin.rs` | spinning for a moment before a sleep |
//! | `registry.rs`, `slot.rs` | the live tasks of this process, and what is known of each |
//! | `failure.rs`, `backtrace.rs` | what is kept of a panic |

use std::convert::Infallible;
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

mod backtrace;
pub(crate) mod cancel;
mod error;
pub(crate) mod failure;
mod info;
mod interrupt;
pub(crate) mod job;
mod limit;
pub(crate) mod outcome;
pub(crate) mod park;
mod printed;
pub(crate) mod progress;
pub(crate) mod registry;
mod slot;
pub(crate) mod spin;

pub use backtrace::Backtrace;
pub use error::{Cause, CodecStage, SourceLocation, TaskError};
pub use info::{Kind, State, TaskId, TaskInfo, UnknownKind};
pub(crate) use interrupt::Interrupt;
pub use interrupt::Interrupted;
pub use limit::Limit;
pub(crate) use limit::bytes;
pub(crate) use printed::Printed;

use outcome::Outcome;

/// All live tasks of this process: spawned and not yet terminated, in no particular order.
///
/// ```
/// let task = trine::thread::Builder::new().name("crunch").spawn(|| 2 + 2);
/// for info in trine::task::list() {
///     println!("{} {} {:?}", info.id, info.state, info.name);
/// }
/// assert_eq!(task.join()?, 4);
/// # Ok::<(), trine::TaskError>(())
/// ```
pub fn list() -> Vec<TaskInfo> {
    registry::list()
}

/// The task that calls this, if it is one; `main` and threads of others are not.
pub fn current() -> Option<TaskInfo> {
    registry::current().and_then(registry::Slot::info)
}

/// Enters a task that does nothing in the registry and takes it out again: for `bench/`, which
/// measures what the registry costs.
#[doc(hidden)]
#[track_caller]
pub fn enter_and_leave_registry(name: Option<Arc<str>>) {
    drop(registry::Entry::new(Kind::Thread, name, Location::caller()));
}

/// What every kind of task keeps: its place in the registry and its outcome.
#[derive(Debug)]
pub(crate) struct Core<T> {
    pub(crate) entry: registry::Entry,
    pub(crate) outcome: Outcome<T>,
}

impl<T> Core<T> {
    pub(crate) fn new(
        kind: Kind,
        name: Option<Arc<str>>,
        location: &'static Location<'static>,
    ) -> Core<T> {
        Core { entry: registry::Entry::new(kind, name, location), outcome: Outcome::new() }
    }

    /// Ends the task.
    ///
    /// # Safety
    ///
    /// As for [`Outcome::complete`]: called once.
    pub(crate) unsafe fn complete(&self, result: Result<T, TaskError>) {
        self.entry.slot.set_state(registry::TERMINATED);
        // SAFETY: the caller's promise.
        unsafe { self.outcome.complete(result) };
    }
}

/// What a [`Task`] holds on to; each kind has its own.
pub(crate) trait Handle: Send + Sync {
    /// What the task ends with, as it was left in the outcome.
    type Raw;
    /// What `join` makes of it.
    type Value;

    fn core(&self) -> &Core<Self::Raw>;
    /// Runs in the joiner, once.
    fn finish(&self, raw: Self::Raw) -> Result<Self::Value, TaskError>;
    /// Asks the task to end.
    fn cancel(self: Arc<Self>, reason: Option<Arc<str>>);
    /// Nobody will join the task.
    fn detached(&self) {}
    /// The joiner is about to wait, and may do something for the task instead.
    fn linger(&self) {}
    /// How far the task says that it has come.
    fn progress(&self) -> Option<f64> {
        self.core().entry.slot.progress()
    }
    /// The joiner waits for a wake-up; may return early.
    fn park(&self, deadline: Option<Instant>) -> Result<(), Interrupted> {
        park::wait(deadline)
    }
}

/// A [`Handle`] with both its types forgotten: what can be cancelled.
trait Cancel: Send + Sync {
    fn request(self: Arc<Self>, reason: Option<Arc<str>>);
}

impl<H: Handle> Cancel for H {
    fn request(self: Arc<Self>, reason: Option<Arc<str>>) {
        self.cancel(reason);
    }
}

/// Cancels a task from anywhere, also while somebody else joins it; see [`Task::canceller`].
#[derive(Clone)]
pub struct Canceller(Arc<dyn Cancel>);

impl Canceller {
    /// As [`Task::cancel`].
    pub fn cancel(&self) {
        Arc::clone(&self.0).request(None);
    }

    /// As [`Task::cancel_because`].
    pub fn cancel_because(&self, reason: impl Into<Arc<str>>) {
        Arc::clone(&self.0).request(Some(reason.into()));
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
}

/// The handle of one running function: a coroutine, a thread or a process.
///
/// [`join`](Task::join) waits for its value. Dropping the handle detaches the task, which runs on.
///
/// ```
/// use trine::{coroutine, thread, process, Task};
///
/// let tasks: Vec<Task<u32>> = vec![
///     coroutine::spawn(|| 1),
///     thread::spawn(|| 2),
///     process::spawn(3, |n| n),
/// ];
/// let sum: u32 = tasks.into_iter().map(|task| task.join().unwrap()).sum();
/// assert_eq!(sum, 6);
/// ```
#[must_use = "a dropped handle detaches its task; join it to see how it ended"]
pub struct Task<T> {
    handle: Arc<dyn Joinable<T>>,
}

/// A [`Handle`] with its raw type forgotten.
///
/// # Safety of the callers
///
/// The unsafe calls must be made by the one consumer of the outcome: the owner of the [`Task`].
trait Joinable<T>: Cancel {
    fn entry(&self) -> &registry::Entry;
    fn is_done(&self) -> bool;
    fn told_progress(&self) -> Option<f64>;
    unsafe fn wait(&self, deadline: Option<Instant>) -> Result<bool, Interrupted>;
    unsafe fn wait_uninterrupted(&self);
    fn look(&self);
    unsafe fn register(&self, waker: &std::task::Waker) -> bool;
    unsafe fn take(&self) -> Option<Result<T, TaskError>>;
    unsafe fn detach(&self);
}

impl<H: Handle> Joinable<H::Value> for H {
    fn entry(&self) -> &registry::Entry {
        &self.core().entry
    }

    fn is_done(&self) -> bool {
        self.core().outcome.is_done()
    }

    fn told_progress(&self) -> Option<f64> {
        self.progress()
    }

    unsafe fn wait(&self, deadline: Option<Instant>) -> Result<bool, Interrupted> {
        self.look();
        // SAFETY: the caller's promise.
        unsafe { self.core().outcome.wait(deadline, |deadline| self.park(deadline)) }
    }

    fn look(&self) {
        if !self.is_done() {
            self.linger();
        }
    }

    unsafe fn wait_uninterrupted(&self) {
        let park = |deadline| -> Result<(), Infallible> {
            park::park(deadline);
            Ok(())
        };
        // SAFETY: the caller's promise.
        let Ok(_done) = unsafe { self.core().outcome.wait(None, park) };
    }

    unsafe fn register(&self, waker: &std::task::Waker) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.core().outcome.register(waker) }
    }

    unsafe fn take(&self) -> Option<Result<H::Value, TaskError>> {
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

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        // SAFETY: `self` is the one consumer, and ends here.
        unsafe { self.handle.detach() };
    }
}

impl<T> Task<T> {
    /// Makes the one handle of a task.
    ///
    /// # Safety
    ///
    /// Called once for each task: a [`Task`] is the one consumer of its outcome.
    pub(crate) unsafe fn from_handle<H: Handle<Value = T> + 'static>(handle: Arc<H>) -> Task<T> {
        Task { handle }
    }

    /// Waits until the task has ended, and takes its value.
    ///
    /// Parks the coroutine it is called in, or the thread where there is none.
    ///
    /// # Errors
    ///
    /// A [`TaskError`] if the task ended without a value: it panicked, was cancelled, its process died, a
    /// limit kept it from starting.
    ///
    /// If the *caller* is cancelled or its time is up meanwhile, the error is
    /// [`Cause::Cancelled`] or [`Cause::TimedOut`] and names the caller; the task is detached.
    ///
    /// # Panics
    ///
    /// If a task joins itself, which would wait for good. Tasks that join each other in a circle are not
    /// told.
    #[track_caller]
    pub fn join(self) -> Result<T, TaskError> {
        self.refuse_own();
        // SAFETY: `self` is the one consumer.
        unsafe { self.handle.wait(None) }?;
        self.outcome()
    }

    /// Panics if the task is the caller's own, whose end it would wait for in vain.
    #[track_caller]
    pub(crate) fn refuse_own(&self) {
        let own = registry::current();
        if own.is_some_and(|own| ptr::eq(own, self.handle.entry().slot)) {
            panic!(
                "{} waits for its own end, which would be for good: have another task join it, or \
                 drop its handle to detach it",
                self.info()
            );
        }
    }

    /// Waits until the task has ended.
    pub(crate) fn wait(&mut self) -> Result<(), Interrupted> {
        // SAFETY: `self` is the one consumer, borrowed exclusively.
        unsafe { self.handle.wait(None) }.map(drop)
    }

    /// The caller is about to wait for this task or another one like it, and may do something for them instead.
    pub(crate) fn linger(&self) {
        self.handle.look();
    }

    /// As `join`, but for the caller's own cancellation, which changes nothing here.
    pub(crate) fn join_uninterrupted(self) -> Result<T, TaskError> {
        // SAFETY: `self` is the one consumer.
        unsafe { self.handle.wait_uninterrupted() };
        self.outcome()
    }

    /// Takes the outcome, which is there.
    fn outcome(self) -> Result<T, TaskError> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the handle is moved out once, and `this` is not dropped.
        let handle = unsafe { ptr::read(&this.handle) };
        // SAFETY: `self` was the one consumer, and its destructor does not run.
        let outcome = unsafe { handle.take() };
        outcome.expect("a task's value is taken once, by join, which consumes it")
    }

    /// Waits at most `timeout` for the task to end. A duration beyond what the clock can count waits
    /// for good.
    ///
    /// # Errors
    ///
    /// Gives the handle back if the task was still at work. If the caller is interrupted meanwhile,
    /// it ends as [`join`](Task::join) does then.
    ///
    /// # Panics
    ///
    /// As [`join`](Task::join), if the wait would be for good.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, TaskError>, Task<T>> {
        let deadline = Instant::now().checked_add(timeout);
        if deadline.is_none() {
            self.refuse_own();
        }
        // SAFETY: `self` is the one consumer.
        match unsafe { self.handle.wait(deadline) } {
            Ok(true) => Ok(self.outcome()),
            Ok(false) => Err(self),
            Err(interrupted) => Ok(Err(interrupted.into())),
        }
    }

    /// Asks the task to end, and does not wait for it.
    ///
    /// A task that has not begun ends at once and never runs. One that waits in a call of trine, or
    /// comes to one, is interrupted there: a call that returns a `Result` returns an error that
    /// says so, another unwinds the task, running its destructors. That is a level, not an event:
    /// every later wait of the task ends in the same way. One that computes goes on until it
    /// waits or asks [`cancelled`](crate::cancelled). What has ended stays as it is.
    ///
    /// The function of a task that has not begun is dropped by the caller: a destructor of what it
    /// captures must not wait for what the caller holds.
    ///
    /// ```
    /// use trine::{coroutine, time};
    ///
    /// let task = coroutine::spawn(|| time::sleep(std::time::Duration::MAX));
    /// task.cancel();
    /// assert!(task.join().unwrap_err().is_cancelled());
    /// ```
    pub fn cancel(&self) {
        Arc::clone(&self.handle).request(None);
    }

    /// As [`cancel`](Task::cancel), with a reason that the task's error will name; the first one counts.
    pub fn cancel_because(&self, reason: impl Into<Arc<str>>) {
        Arc::clone(&self.handle).request(Some(reason.into()));
    }

    /// A handle that can only cancel, to be given to others.
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.handle) as Arc<dyn Cancel>)
    }

    /// Whether the task has ended, so that `join` will not wait.
    pub fn is_finished(&self) -> bool {
        self.handle.is_done()
    }

    /// The task's number.
    pub fn id(&self) -> TaskId {
        self.handle.entry().id()
    }

    /// The name that its builder was given.
    pub fn name(&self) -> Option<Arc<str>> {
        self.info().name
    }

    /// Which way the task runs.
    pub fn kind(&self) -> Kind {
        self.info().kind
    }

    /// Where the task is in its life.
    pub fn state(&self) -> State {
        if self.is_finished() { State::Terminated } else { self.info().state }
    }

    /// How far the task says that it has come, by [`progress`](crate::progress()); `None` if it has said nothing.
    ///
    /// After its end the last number stays. A task that is run again because its process has died has said
    /// nothing until it says something anew; so has one that is queued.
    ///
    /// ```
    /// let task = trine::thread::spawn(|| trine::progress(0.5));
    /// while !task.is_finished() {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(task.progress(), Some(0.5));
    /// ```
    pub fn progress(&self) -> Option<f64> {
        self.handle.told_progress()
    }

    /// All that is known of the task.
    pub fn info(&self) -> TaskInfo {
        self.handle.entry().info()
    }

    /// Has `waker` woken when the task ends; `true` if it has ended, and nothing was registered.
    #[track_caller]
    pub(crate) fn register(&mut self, waker: &std::task::Waker) -> bool {
        self.refuse_own();
        // SAFETY: `self` is the one consumer, borrowed exclusively.
        unsafe { self.handle.register(waker) }
    }
}

/// A task is a future of its outcome, in any executor.
///
/// # Panics
///
/// If it is polled again after it was ready, or by the task itself, which would wait for good.
impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.register(context.waker()) {
            return Poll::Pending;
        }
        // SAFETY: `self` is the one consumer, borrowed exclusively.
        let outcome = unsafe { self.handle.take() };
        Poll::Ready(outcome.expect("a task was polled after its end"))
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({} {})", self.info(), self.state())
    }
}
