//! Starting tasks in a scope.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::shared::{Member, Shared};
use crate::executor::Executor;
use crate::task::{
    self, Canceller, Cause, Kind, Task, TaskError, TaskId, TaskInfo, cancel, failure,
};
use crate::{coroutine, process, thread};

/// Where tasks are started that end before the call of [`scope`](super::scope()) or
/// [`supervise`](super::supervise) does.
///
/// `'scope` is how long the scope lasts, `'env` how long what its tasks borrow lives at least.
pub struct Scope<'scope, 'env: 'scope> {
    shared: Arc<Shared>,
    /// Both lifetimes invariant: were `'scope` to shrink, a task could borrow what ends before it.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> Scope<'scope, '_> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Scope { shared, scope: PhantomData, env: PhantomData }
    }

    /// Runs `f` as a coroutine; see [`coroutine::spawn`].
    #[track_caller]
    pub fn coroutine<F, T>(&'scope self, f: F) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.coroutine_with(coroutine::Builder::new(), f)
    }

    /// As [`coroutine`](Scope::coroutine), with a name or a stack size.
    #[track_caller]
    pub fn coroutine_with<F, T>(
        &'scope self,
        builder: coroutine::Builder,
        f: F,
    ) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let work = self.work(|| Ok(f()));
        self.started(work, |at, function| builder.spawn_at(at, function))
    }

    /// Runs `f` on a thread of its own; see [`thread::spawn`].
    #[track_caller]
    pub fn thread<F, T>(&'scope self, f: F) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.thread_with(thread::Builder::new(), f)
    }

    /// As [`thread`](Scope::thread), with a name or a stack size.
    #[track_caller]
    pub fn thread_with<F, T>(&'scope self, builder: thread::Builder, f: F) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let work = self.work(|| Ok(f()));
        self.started(work, |at, function| builder.spawn_at(at, function))
    }

    /// Runs `f(arg)` in a process of its own; see [`process::spawn`] for what may cross.
    #[track_caller]
    pub fn process<A, R, F>(&'scope self, arg: A, f: F) -> ScopedTask<'scope, R>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        self.adopt(process::spawn(arg, f))
    }

    /// Runs `f(arg)` on an executor: a pool, or a [`Kind`] with its default pool.
    ///
    /// ```
    /// use trine::{Kind, thread};
    ///
    /// let pool = thread::Pool::new(2);
    /// let sum = trine::scope(|s| {
    ///     let a = s.on(&pool, 20, |n: u32| n + 1);
    ///     let b = s.on(&Kind::Process, 20, |n: u32| n + 1);
    ///     a.join().unwrap() + b.join().unwrap()
    /// })?;
    /// assert_eq!(sum, 42);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    #[track_caller]
    pub fn on<E, A, R, F>(&'scope self, executor: &E, arg: A, f: F) -> ScopedTask<'scope, R>
    where
        E: Executor,
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        self.adopt(executor.spawn(arg, f))
    }

    /// Makes a task that was started elsewhere one of this scope: the scope waits for it, cancels
    /// it with the others, and counts its failure. A coroutine watches over it.
    ///
    /// # Panics
    ///
    /// If the task is the caller's own: scope and task would wait for each other.
    #[track_caller]
    pub fn adopt<T: Send + 'static>(&'scope self, task: Task<T>) -> ScopedTask<'scope, T> {
        task.refuse_own();
        let info = task.info();
        let mut watched = Watched(Some(task));
        let work = self.work(move || watched.join());
        let builder = coroutine::Builder::new();
        let mut scoped = self.started(work, |at, function| builder.spawn_at(at, function));
        scoped.info = info;
        scoped
    }

    /// Asks all tasks of the scope to end, and those that are started in it later; see
    /// [`Task::cancel`]. That is no failure: the function of the scope goes on, and the scope has its
    /// value once the tasks have ended.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::{sync::channel, time};
    ///
    /// let (sender, receiver) = channel::bounded(1);
    /// let found = trine::scope(|s| {
    ///     for n in 0..100 {
    ///         let sender = sender.clone();
    ///         s.coroutine(move || {
    ///             time::sleep(if n == 42 { Duration::ZERO } else { Duration::MAX });
    ///             let _ = sender.send(n);
    ///         });
    ///     }
    ///     let first = receiver.recv();
    ///     s.cancel(); // one is enough
    ///     first
    /// })?;
    /// assert_eq!(found, Ok(42));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn cancel(&self) {
        self.cancel_because("its scope was cancelled");
    }

    /// As [`cancel`](Scope::cancel), with a reason that the errors of the tasks will name; the first
    /// one counts.
    pub fn cancel_because(&self, reason: impl Into<Arc<str>>) {
        self.shared.end_all(reason);
    }

    /// Whether the scope's tasks were cancelled, by [`cancel`](Scope::cancel) or by a failure; one
    /// that is started from now on does not run.
    pub fn is_cancelled(&self) -> bool {
        self.shared.is_ending()
    }

    fn work<'f, F, T>(&self, f: F) -> Work<F, T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'f,
    {
        Work {
            function: Some(f),
            deadline: cancel::deadline(),
            packet: Arc::new(Packet(Mutex::new(None))),
            member: self.shared.enter(),
        }
    }

    /// Starts the work by `spawn`, which is told where that was asked for.
    #[track_caller]
    fn started<F, T>(
        &'scope self,
        work: Work<F, T>,
        spawn: impl FnOnce(&'static Location<'static>, Function) -> Task<()>,
    ) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'scope,
        T: Send + 'scope,
    {
        let (packet, ticket) = (Arc::clone(&work.packet), work.member.ticket);
        let function: Box<dyn FnOnce() + Send + 'scope> = Box::new(move || work.run());
        // SAFETY: the scope does not end before the work's member is dropped, which is the last of
        // what the function owns; so all that lives for `'scope` at least outlives the function,
        // wherever that is, and whether it is called or dropped. The task's own value is `()`.
        let function: Function = unsafe { mem::transmute(function) };
        let task = spawn(Location::caller(), function);
        self.shared.enlist(ticket, task.canceller());
        ScopedTask { info: task.info(), task, packet, scope: PhantomData }
    }
}

type Function = Box<dyn FnOnce() + Send + 'static>;

/// What a task of a scope does. The fields are dropped in this order: whatever lives for the scope,
/// then the member.
struct Work<F, T> {
    function: Option<F>,
    /// When the waits of whoever started it end.
    deadline: Option<Instant>,
    packet: Arc<Packet<T>>,
    member: Member,
}

/// Where the value of a task waits for its joiner.
struct Packet<T>(Mutex<Option<Result<T, TaskError>>>);

impl<T> Packet<T> {
    fn put(&self, result: Result<T, TaskError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    fn take(&self) -> Option<Result<T, TaskError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<F, T> Work<F, T>
where
    F: FnOnce() -> Result<T, TaskError>,
{
    /// Never unwinds: what the function does, and the destructor of a value that nobody wants, end
    /// here.
    fn run(mut self) {
        cancel::inherit(self.deadline);
        let function = self.function.take().expect("work is done once");
        let result = match self.member.late.take() {
            None => failure::catch(task::current, function).and_then(|result| result),
            // Before whoever started it came to cancel it.
            reason @ Some(_) => failure::catch(task::current, || drop(function))
                .and_then(|()| Err(TaskError::new(Cause::Cancelled { reason }, task::current()))),
        };
        if let Err(error) = &result {
            self.member.fail(error);
        }
        self.packet.put(result);
        // If the handle is gone, the value is dropped now, by the task.
        if let Some(packet) = Arc::get_mut(&mut self.packet) {
            let value = packet.take();
            if let Err(error) = failure::catch(task::current, || drop(value)) {
                self.member.fail(&error);
            }
        }
    }
}

impl<F, T> Drop for Work<F, T> {
    fn drop(&mut self) {
        if self.function.is_some() {
            self.member.refuse(task::current());
        }
    }
}

/// A task that is cancelled when whoever watches over it is, and waited for all the same.
struct Watched<T>(Option<Task<T>>);

impl<T> Watched<T> {
    fn join(&mut self) -> Result<T, TaskError> {
        let mut task = self.0.take().expect("joined once");
        if let Err(interrupted) = task.wait() {
            task.cancel_because(interrupted.passed_on());
        }
        task.join_uninterrupted()
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.cancel();
        }
    }
}

/// The handle of a task of a scope.
///
/// Dropping it changes nothing: the scope waits for the task, and counts its failure.
pub struct ScopedTask<'scope, T> {
    task: Task<()>,
    packet: Arc<Packet<T>>,
    info: TaskInfo,
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<T> ScopedTask<'_, T> {
    /// Waits until the task has ended, and takes its value.
    ///
    /// # Errors
    ///
    /// As [`Task::join`]. Under [`scope`](super::scope()) a failure ends the scope, whoever has seen
    /// it here.
    ///
    /// # Panics
    ///
    /// If a task joins itself, which would wait for good.
    #[track_caller]
    pub fn join(self) -> Result<T, TaskError> {
        let ended = self.task.join();
        self.packet.take().unwrap_or_else(|| {
            // It never ran, or the caller was interrupted.
            Err(ended.expect_err("a task that has run has left its result"))
        })
    }

    /// Waits at most `timeout` for the task to end.
    ///
    /// # Errors
    ///
    /// As [`Task::join_timeout`].
    ///
    /// # Panics
    ///
    /// As [`Task::join_timeout`].
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, TaskError>, Self> {
        let ScopedTask { task, packet, info, scope } = self;
        match task.join_timeout(timeout) {
            Ok(ended) => Ok(packet.take().unwrap_or_else(|| {
                Err(ended.expect_err("a task that has run has left its result"))
            })),
            Err(task) => Err(ScopedTask { task, packet, info, scope }),
        }
    }

    /// Asks the task to end; see [`Task::cancel`]. That is no failure.
    pub fn cancel(&self) {
        self.task.cancel();
    }

    /// As [`cancel`](ScopedTask::cancel), with a reason.
    pub fn cancel_because(&self, reason: impl Into<Arc<str>>) {
        self.task.cancel_because(reason);
    }

    /// A handle that can only cancel.
    pub fn canceller(&self) -> Canceller {
        self.task.canceller()
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// The task's number.
    pub fn id(&self) -> TaskId {
        self.info.id
    }

    /// The task's name.
    pub fn name(&self) -> Option<Arc<str>> {
        self.info.name.clone()
    }

    /// Which way the task runs.
    pub fn kind(&self) -> Kind {
        self.info.kind
    }

    /// Where it was started.
    pub fn location(&self) -> &'static Location<'static> {
        self.info.location
    }
}

impl<T> fmt::Debug for ScopedTask<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopedTask({})", self.info)
    }
}
