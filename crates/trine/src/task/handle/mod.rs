//! The handle of a task.

use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::budget;
use super::error::TaskError;
use super::info::{Kind, State, TaskId, TaskInfo};
use super::interrupt::Interrupted;
use super::{registry, wait};

mod backend;

pub(crate) use backend::{Backend, Core};
use backend::{Cancel, Joinable};

/// The handle of one running function: a coroutine, a thread or a process.
///
/// [`join`](Task::join) waits for its value. Dropping the handle detaches the task, which runs on.
///
/// A detached task of any kind ends with the process that has spawned it, as std's threads end with
/// `main`. Inside a process task, that process is the worker: the one of
/// [`process::spawn`](crate::process::spawn) ends when the task has returned, a worker of a
/// [`Pool`](crate::process::Pool) when the pool retires it. So a process task joins the tasks that
/// it spawns, or spawns them in a [`scope`](crate::scope()).
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

// `Send + Sync` for every `T`, by the bounds of `Backend`. The value comes to the thread of the
// handle, which may be any. The raw value in the outcome is `Send`: an `Outcome` is `Sync` for no
// other, and a `Backend` is `Sync`. The value is made of it, or is it, on the thread that joins. So
// `T: Send` is not needed here, as for std's `JoinHandle`: spawning has required it. A shared
// handle reaches neither the value nor a call of the one consumer.
const _: () = {
    const fn crosses_threads<T: Send + Sync>() {}
    // Not `Send`, and not `Sync`.
    crosses_threads::<Task<*const ()>>();
};

// As std's `JoinHandle`: an unwinding leaves the task as it is, or detaches it.
impl<T> UnwindSafe for Task<T> {}
impl<T> RefUnwindSafe for Task<T> {}

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
    /// Parks the calling coroutine, or the thread outside any coroutine.
    ///
    /// ```
    /// let task = trine::coroutine::spawn(|| 40 + 2);
    /// assert_eq!(task.join()?, 42);
    ///
    /// let task = trine::thread::spawn(|| panic!("no luck"));
    /// assert!(task.join().unwrap_err().is_panic());
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A [`TaskError`] if the task ended without a value: it panicked, it was cancelled, its
    /// process died, or a limit kept it from starting.
    ///
    /// If the *caller* is cancelled or its time is up meanwhile, the error is
    /// [`Cause::Cancelled`](crate::Cause::Cancelled) or [`Cause::TimedOut`](crate::Cause::TimedOut)
    /// and names the caller; the task is detached.
    ///
    /// # Panics
    ///
    /// If a task joins itself, and no deadline ends that wait, as for a lock that it holds
    /// ([`Mutex::lock`](crate::sync::Mutex::lock)). Tasks that join each other in a circle are not
    /// detected.
    #[track_caller]
    pub fn join(self) -> Result<T, TaskError> {
        self.refuse_endless_join();
        // SAFETY: `self` is the one consumer.
        unsafe { self.backend.wait(None) }?;
        self.outcome()
    }

    /// Panics if the task is the caller's own, and nothing would end its wait for itself.
    #[track_caller]
    pub(crate) fn refuse_endless_join(&self) {
        if self.is_own() && !wait::has_limit() {
            self.refuse_own_join();
        }
    }

    fn is_own(&self) -> bool {
        // Both slots are in use, so no address stands for two tasks.
        registry::current().is_some_and(|own| ptr::eq(own, self.backend.entry().slot))
    }

    /// Panics if the task is the caller's own, which would wait for its own end.
    #[track_caller]
    pub(crate) fn refuse_own_join(&self) {
        if self.is_own() {
            panic!(
                "{} waits for its own end, which would never come: have another task join it, or \
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

    /// Lets the caller, which is about to wait for this task or one like it, do something for them
    /// instead.
    pub(crate) fn linger(&self) {
        self.backend.linger_unless_done();
    }

    /// Joins the task even if the caller is cancelled.
    pub(crate) fn join_uninterrupted(self) -> Result<T, TaskError> {
        // SAFETY: `self` is the one consumer.
        unsafe { self.backend.wait_uninterrupted() };
        self.outcome()
    }

    /// Takes the outcome of a task that has ended.
    fn outcome(self) -> Result<T, TaskError> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the handle is moved out once, and `this` is not dropped.
        let backend = unsafe { ptr::read(&this.backend) };
        // SAFETY: `self` was the one consumer, and its destructor does not run.
        let outcome = unsafe { backend.take() };
        outcome.expect("a task's value is taken once, by join, which consumes it")
    }

    /// Waits for at most `timeout` until the task has ended; zero only looks. A duration beyond the
    /// clock's range waits forever.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::{coroutine, time};
    ///
    /// let task = coroutine::spawn(|| time::sleep(Duration::MAX));
    /// let task = task.join_timeout(Duration::from_millis(1)).unwrap_err(); // still at work
    /// task.cancel();
    /// assert!(task.join().unwrap_err().is_cancelled());
    /// ```
    ///
    /// # Errors
    ///
    /// Gives the handle back if the task is still at work. If the caller is interrupted meanwhile,
    /// the inner error is the one that [`join`](Task::join) returns then.
    ///
    /// # Panics
    ///
    /// If a task joins itself with a duration that waits forever.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, TaskError>, Task<T>> {
        if timeout.is_zero() && !self.is_finished() {
            return Err(self);
        }
        let deadline = Instant::now().checked_add(timeout);
        if deadline.is_none() {
            self.refuse_endless_join();
        }
        // SAFETY: `self` is the one consumer.
        match unsafe { self.backend.wait(deadline) } {
            Ok(true) => Ok(self.outcome()),
            Ok(false) => Err(self),
            Err(interrupted) => Ok(Err(interrupted.into())),
        }
    }

    /// Requests the task to end, without waiting for it.
    ///
    /// A task that has not begun ends at once and never runs. A task that waits in a call of trine,
    /// or comes to one, is interrupted there. A call that returns a `Result` returns
    /// [`Interrupted`]; any other call unwinds the task, running its
    /// destructors. The request is a level, not an event: every later wait of the task ends in the
    /// same way. A task that computes goes on until it waits or calls
    /// [`cancelled`](crate::cancelled). A task that has ended stays as it is.
    ///
    /// A program that is built with `panic = "abort"` cannot unwind: such a call aborts it there,
    /// with a message.
    ///
    /// The caller drops the function of a task that has not begun. So a destructor of its captures
    /// must not wait for a resource that the caller holds.
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

    /// Cancels the task with a reason that its error names; the first reason counts. See
    /// [`cancel`](Task::cancel).
    ///
    /// ```
    /// use trine::{coroutine, time};
    ///
    /// let task = coroutine::spawn(|| time::sleep(std::time::Duration::MAX));
    /// task.cancel_because("it took too long");
    /// let error = task.join().unwrap_err();
    /// assert!(error.to_string().ends_with("was cancelled: it took too long"));
    /// ```
    pub fn cancel_because(&self, reason: impl Into<Arc<str>>) {
        Arc::clone(&self.backend).request(Some(reason.into()));
    }

    /// Returns a handle that can only cancel, to be given to others.
    ///
    /// ```
    /// use trine::{coroutine, thread, time};
    ///
    /// let task = coroutine::spawn(|| time::sleep(std::time::Duration::MAX));
    /// let canceller = task.canceller();
    /// let other = thread::spawn(move || canceller.cancel());
    /// assert!(task.join().unwrap_err().is_cancelled());
    /// # other.join()?;
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.backend) as Arc<dyn Cancel>)
    }

    /// Returns true if the task has ended, so that `join` does not wait.
    ///
    /// ```
    /// let task = trine::coroutine::spawn(|| 7);
    /// while !task.is_finished() {
    ///     trine::coroutine::yield_now(); // … or a part of some other work
    /// }
    /// assert_eq!(task.join()?, 7);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        budget::spend();
        self.has_ended()
    }

    /// Returns true if the task has ended, for callers that do not ask again and again.
    pub(crate) fn has_ended(&self) -> bool {
        self.backend.is_done()
    }

    /// Returns the task's number.
    ///
    /// ```
    /// let task = trine::coroutine::spawn(trine::task::current);
    /// let id = task.id();
    /// assert_eq!(task.join()?.unwrap().id, id);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn id(&self) -> TaskId {
        self.backend.entry().id()
    }

    /// Returns the name that the task's builder was given.
    ///
    /// ```
    /// let task = trine::thread::Builder::new().name("crunch").spawn(|| ());
    /// assert_eq!(task.name().as_deref(), Some("crunch"));
    /// # task.join()?;
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn name(&self) -> Option<Arc<str>> {
        self.info().name
    }

    /// Returns the way in which the task runs.
    ///
    /// ```
    /// let task = trine::thread::spawn(|| ());
    /// assert_eq!(task.kind(), trine::Kind::Thread);
    /// # task.join()?;
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn kind(&self) -> Kind {
        self.info().kind
    }

    /// Returns the task's state.
    ///
    /// ```
    /// use trine::{State, coroutine, sync::channel};
    ///
    /// let (sender, receiver) = channel::bounded::<u32>(1);
    /// let task = coroutine::spawn(move || receiver.recv());
    /// while task.state() != State::Waiting {
    ///     std::thread::yield_now();
    /// }
    /// sender.send(7).unwrap();
    /// assert_eq!(task.join()?, Ok(7));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn state(&self) -> State {
        budget::spend();
        self.state_now()
    }

    /// Returns the state, and never gives others a turn.
    fn state_now(&self) -> State {
        if self.has_ended() { State::Terminated } else { self.info().state }
    }

    /// Returns the progress that the task has reported by [`progress`](crate::progress()); `None`
    /// if it has reported nothing.
    ///
    /// After the task's end the last number stays. A retry of a task whose process has died begins
    /// again with `None`.
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

    /// Describes the task.
    ///
    /// ```
    /// let task = trine::coroutine::spawn(|| ());
    /// let info = task.info();
    /// assert_eq!(info.location.file(), file!());
    /// println!("{info}"); // coroutine #1 (spawned at src/main.rs:3:12)
    /// # task.join()?;
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn info(&self) -> TaskInfo {
        self.backend.entry().info()
    }

    /// Returns the id of the process that has a process task; `None` before a worker has it.
    pub(crate) fn worker_pid(&self) -> Option<u32> {
        let slot = self.backend.entry().slot;
        Some(slot.os_id()).filter(|pid| *pid != 0 && slot.kind() == Kind::Process)
    }

    /// Registers `waker` to be woken when the task ends, in place of the waker of an earlier call.
    /// Returns true if the task has ended already; then the waker is not registered.
    pub(crate) fn register(&mut self, waker: &Waker) -> bool {
        // SAFETY: `self` is the one consumer, borrowed exclusively.
        unsafe { self.backend.register(waker) }
    }

    /// Returns true if the task has ended, or cannot go on in this process. Registers no waker, so
    /// the caller will ask again.
    pub(crate) fn look(&mut self) -> bool {
        // SAFETY: `self` is the one consumer, borrowed exclusively.
        unsafe { self.backend.look() }
    }
}

/// A task is a future of its outcome, in any executor.
///
/// ```
/// let task = trine::thread::spawn(|| 42);
/// assert_eq!(trine::future::block_on(task)?, 42);
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// The task keeps one waker. A later `poll`, and a call that waits for the task, such as
/// [`join_timeout`](Task::join_timeout), replaces it.
///
/// # Panics
///
/// If it is polled again after it was ready, or by the task itself, which would wait forever; see
/// [`Task::join`].
impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.refuse_endless_join();
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
        write!(f, "Task({} {})", self.info(), self.state_now())
    }
}

/// A handle that cancels a task from anywhere, also while another task joins it; see
/// [`Task::canceller`].
///
/// ```
/// use trine::{Canceller, Task, coroutine, time};
///
/// let sleep = || time::sleep(std::time::Duration::MAX);
/// let tasks = [coroutine::spawn(sleep), coroutine::spawn(sleep)];
/// let cancellers = tasks.each_ref().map(Task::canceller);
/// cancellers.iter().for_each(Canceller::cancel);
/// assert!(tasks.into_iter().all(|task| task.join().unwrap_err().is_cancelled()));
/// ```
#[derive(Clone)]
pub struct Canceller(Arc<dyn Cancel>);

impl UnwindSafe for Canceller {}
impl RefUnwindSafe for Canceller {}

impl Canceller {
    /// Cancels the task; see [`Task::cancel`].
    pub fn cancel(&self) {
        Arc::clone(&self.0).request(None);
    }

    /// Cancels the task with a reason; see [`Task::cancel_because`].
    ///
    /// ```
    /// use trine::{coroutine, time};
    ///
    /// let task = coroutine::spawn(|| time::sleep(std::time::Duration::MAX));
    /// task.canceller().cancel_because("enough");
    /// assert!(task.join().unwrap_err().to_string().ends_with("enough"));
    /// ```
    pub fn cancel_because(&self, reason: impl Into<Arc<str>>) {
        Arc::clone(&self.0).request(Some(reason.into()));
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
}
