//! The handle of a task.

use std::fmt;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::backend::{Backend, Cancel, Joinable};
use super::error::TaskError;
use super::info::{Kind, State, TaskId, TaskInfo};
use super::interrupt::Interrupted;
use super::registry;

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
    backend: Arc<dyn Joinable<T>>,
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        // SAFETY: `self` is the one consumer, and ends here.
        unsafe { self.backend.detach() };
    }
}

impl<T> Task<T> {
    /// Makes the one handle of a task.
    ///
    /// # Safety
    ///
    /// Called once for each task: a [`Task`] is the one consumer of its outcome.
    pub(crate) unsafe fn from_backend<B: Backend<Value = T> + 'static>(backend: Arc<B>) -> Task<T> {
        Task { backend }
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
        unsafe { self.backend.wait(None) }?;
        self.outcome()
    }

    /// Panics if the task is the caller's own, whose end it would wait for in vain.
    #[track_caller]
    pub(crate) fn refuse_own(&self) {
        let own = registry::current();
        if own.is_some_and(|own| ptr::eq(own, self.backend.entry().slot)) {
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
        unsafe { self.backend.wait(None) }.map(drop)
    }

    /// The caller is about to wait for this task or another one like it, and may do something for them instead.
    pub(crate) fn linger(&self) {
        self.backend.linger_unless_done();
    }

    /// As `join`, but for the caller's own cancellation, which changes nothing here.
    pub(crate) fn join_uninterrupted(self) -> Result<T, TaskError> {
        // SAFETY: `self` is the one consumer.
        unsafe { self.backend.wait_uninterrupted() };
        self.outcome()
    }

    /// Takes the outcome, which is there.
    fn outcome(self) -> Result<T, TaskError> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the handle is moved out once, and `this` is not dropped.
        let backend = unsafe { ptr::read(&this.backend) };
        // SAFETY: `self` was the one consumer, and its destructor does not run.
        let outcome = unsafe { backend.take() };
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
        match unsafe { self.backend.wait(deadline) } {
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
        Arc::clone(&self.backend).request(None);
    }

    /// As [`cancel`](Task::cancel), with a reason that the task's error will name; the first one counts.
    pub fn cancel_because(&self, reason: impl Into<Arc<str>>) {
        Arc::clone(&self.backend).request(Some(reason.into()));
    }

    /// A handle that can only cancel, to be given to others.
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.backend) as Arc<dyn Cancel>)
    }

    /// Whether the task has ended, so that `join` will not wait.
    pub fn is_finished(&self) -> bool {
        self.backend.is_done()
    }

    /// The task's number.
    pub fn id(&self) -> TaskId {
        self.backend.entry().id()
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
        self.backend.reported_progress()
    }

    /// All that is known of the task.
    pub fn info(&self) -> TaskInfo {
        self.backend.entry().info()
    }

    /// Has `waker` woken when the task ends; `true` if it has ended, and nothing was registered.
    #[track_caller]
    pub(crate) fn register(&mut self, waker: &Waker) -> bool {
        self.refuse_own();
        // SAFETY: `self` is the one consumer, borrowed exclusively.
        unsafe { self.backend.register(waker) }
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
        let outcome = unsafe { self.backend.take() };
        Poll::Ready(outcome.expect("a task was polled after its end"))
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({} {})", self.info(), self.state())
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
