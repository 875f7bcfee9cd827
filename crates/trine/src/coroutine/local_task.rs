//! Coroutines that never leave the thread on which they were spawned, and so need not be `Send`.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::builder::Builder;
use super::carrier::{self, thread};
use crate::task::{Kind, State, Task, TaskError, TaskId, TaskInfo};

/// Asserts `Send` for a value that is made, used and dropped on one thread, behind types that ask
/// for it.
struct AssertSend<T>(T);

// SAFETY: only this module makes an `AssertSend`, of the function of a local coroutine and of its
// result. The function is in a queue of one thread until that thread runs or refuses it, and is
// used up there. Only the `LocalTask` can cancel it before, on that thread too: it gives no
// `Canceller` away. The result is made there, and taken or dropped there: by the `LocalTask`, which
// stays on that thread, or, if that was dropped, by the coroutine itself. Other threads may hold
// wakers of the coroutine, which free memory at most.
unsafe impl<T> Send for AssertSend<T> {}

impl<T> AssertSend<T> {
    /// Takes `self`, so that a closure captures the whole.
    fn into_inner(self) -> T {
        self.0
    }
}

/// Runs `f` as a coroutine on this thread. Neither `f` nor its result need be `Send`, so local
/// coroutines share `Rc`s and `Cell`s without locks.
///
/// Called in a coroutine, the new one runs on the same carrier, after those that are ready there.
/// Called on any other thread, such as `main`, it runs while that thread waits in a call of trine
/// (`join`, `sleep`, [`yield_now`](super::yield_now), …), and only then.
///
/// Such a thread waits no more when its function has ended. A local coroutine that is unfinished
/// then is cancelled and run to its end, before the thread's thread-locals are destroyed. One that
/// has not started is dropped. The same happens at the end of the [thread](crate::thread) or
/// process task that spawned it. One that catches its cancellation, and has not ended after a
/// second, never runs again once the thread has ended: it is leaked. So join it.
///
/// At the end of the program nothing is cancelled or dropped: at the end of `main`, or in a call of
/// [`exit`](std::process::exit) on any thread.
///
/// Local coroutines start in the order in which they were spawned, and take turns.
///
/// ```
/// use std::cell::RefCell;
/// use std::rc::Rc;
/// use trine::coroutine;
///
/// let lines = Rc::new(RefCell::new(Vec::new()));
/// let tasks: Vec<_> = ["a", "b"]
///     .map(|name| {
///         let lines = Rc::clone(&lines);
///         coroutine::spawn_local(move || {
///             for n in 0..2 {
///                 lines.borrow_mut().push(format!("{name}{n}"));
///                 coroutine::yield_now();
///             }
///             lines // an `Rc` may be the result, too
///         })
///     })
///     .into();
/// for task in tasks {
///     task.join()?;
/// }
/// assert_eq!(*lines.borrow(), ["a0", "b0", "a1", "b1"]);
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// # Panics
///
/// In the destructor of a thread-local at the end of a thread, since nothing would run the
/// coroutine.
#[track_caller]
pub fn spawn_local<F, T>(f: F) -> LocalTask<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Builder::new().spawn_local(f)
}

impl Builder {
    /// Runs `f` as a coroutine on this thread with these settings; see
    /// [`coroutine::spawn_local`](spawn_local()).
    ///
    /// ```
    /// let shared = std::rc::Rc::new(5);
    /// let mine = shared.clone();
    /// let task = trine::coroutine::Builder::new().name("local").spawn_local(move || *mine);
    /// assert_eq!(task.join()?, 5);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// The same as [`coroutine::spawn_local`](spawn_local()).
    #[track_caller]
    pub fn spawn_local<F, T>(self, f: F) -> LocalTask<T>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let f = AssertSend(f);
        let (fiber, task) = self.make(Location::caller(), move || AssertSend(f.into_inner()()));
        carrier::current().unwrap_or_else(thread::start).spawn_local(fiber);
        LocalTask { task, _stays: PhantomData }
    }
}

/// The handle of a coroutine that was spawned by [`spawn_local`].
///
/// ```
/// let task = trine::coroutine::spawn_local(|| std::rc::Rc::new(1));
/// assert_eq!(*task.join()?, 1);
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// It is a [`Task`], except that it stays on its thread, since its value may be bound to that:
///
/// ```compile_fail,E0277
/// let shared = std::rc::Rc::new(1);
/// let mine = shared.clone();
/// let task = trine::coroutine::spawn_local(move || mine);
/// // Would count without a lock, while this thread does the same.
/// std::thread::spawn(move || drop(task.join()));
/// drop(shared);
/// ```
#[must_use = "a dropped handle detaches its coroutine; join it to see how it ended"]
pub struct LocalTask<T> {
    task: Task<AssertSend<T>>,
    /// Not `Send`: see above.
    _stays: PhantomData<*mut ()>,
}

impl<T> LocalTask<T> {
    /// Waits until the coroutine has ended, and takes its value; see [`Task::join`].
    ///
    /// # Errors
    ///
    /// A [`TaskError`] if it ended without a value.
    #[track_caller]
    pub fn join(self) -> Result<T, TaskError> {
        self.task.join().map(AssertSend::into_inner)
    }

    /// Waits at most `timeout` for the coroutine to end; see [`Task::join_timeout`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let task = trine::coroutine::spawn_local(|| trine::sync::Event::new().wait());
    /// let task = task.join_timeout(Duration::from_millis(1)).unwrap_err();
    /// task.cancel();
    /// # task.join().unwrap_err();
    /// ```
    ///
    /// # Errors
    ///
    /// The handle itself, if the coroutine has not ended in time.
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, TaskError>, LocalTask<T>> {
        match self.task.join_timeout(timeout) {
            Ok(result) => Ok(result.map(AssertSend::into_inner)),
            Err(task) => Err(LocalTask { task, _stays: PhantomData }),
        }
    }

    /// Requests the cancellation of the coroutine; see [`Task::cancel`].
    ///
    /// ```
    /// let task = trine::coroutine::spawn_local(|| trine::sync::Event::new().wait());
    /// assert!(!task.is_finished());
    /// task.cancel();
    /// assert!(task.join().unwrap_err().is_cancelled());
    /// ```
    pub fn cancel(&self) {
        self.task.cancel();
    }

    /// Requests the cancellation with a reason; see [`Task::cancel_because`].
    pub fn cancel_because(&self, reason: impl Into<Arc<str>>) {
        self.task.cancel_because(reason);
    }

    /// Returns true if the coroutine has ended, so that `join` will not wait.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Returns the task's number.
    pub fn id(&self) -> TaskId {
        self.task.id()
    }

    /// Returns the name that its builder was given.
    pub fn name(&self) -> Option<Arc<str>> {
        self.task.name()
    }

    /// Returns [`Kind::Coroutine`].
    pub fn kind(&self) -> Kind {
        self.task.kind()
    }

    /// Returns the state of the coroutine.
    pub fn state(&self) -> State {
        self.task.state()
    }

    /// Returns all that is known of the task.
    pub fn info(&self) -> TaskInfo {
        self.task.info()
    }
}

/// A local task is a future of its outcome, in any executor on its thread.
///
/// # Panics
///
/// If it is polled again after it was ready.
impl<T> Future for LocalTask<T> {
    type Output = Result<T, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(context).map(|result| result.map(AssertSend::into_inner))
    }
}

impl<T> fmt::Debug for LocalTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Local{:?}", self.task)
    }
}
