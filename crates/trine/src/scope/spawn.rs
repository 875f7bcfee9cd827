//! Starting tasks in a scope.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::panic::Location;
use std::sync::Arc;

use super::scoped_task::ScopedTask;
use super::shared::{Member, Shared};
use super::work::{Packet, Watched, Work};
use crate::executor::Executor;
use crate::process::{self, Portable};
use crate::task::{Task, TaskError, cancel};
use crate::{coroutine, thread};

/// The argument of the functions given to [`scope`](super::scope()) and
/// [`supervise`](super::supervise): it starts tasks that end before that call returns.
///
/// `'scope` is the lifetime of the scope. `'env` is the shortest lifetime of the data that its
/// tasks borrow.
///
/// ```
/// let words = ["one", "task", "three", "ways"];
/// let letters = trine::scope(|s| {
///     let tasks = words.map(|word| s.coroutine(move || word.len()));
///     tasks.into_iter().map(|task| task.join().unwrap()).sum::<usize>()
/// })?;
/// assert_eq!(letters, 16);
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct Scope<'scope, 'env: 'scope> {
    shared: Arc<Shared>,
    /// Both lifetimes are invariant: if `'scope` could shrink, a task could borrow data that ends
    /// before it.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> Scope<'scope, '_> {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Scope { shared, scope: PhantomData, env: PhantomData }
    }

    /// Runs `f` as a coroutine; see [`coroutine::spawn`].
    ///
    /// ```
    /// let mut numbers = [3, 1, 2];
    /// trine::scope(|s| drop(s.coroutine(|| numbers.sort())))?;
    /// assert_eq!(numbers, [1, 2, 3]);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    #[track_caller]
    pub fn coroutine<F, T>(&'scope self, f: F) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.coroutine_with(coroutine::Builder::new(), f)
    }

    /// Runs `f` as a coroutine with a name or a stack size.
    ///
    /// ```
    /// use trine::coroutine::Builder;
    ///
    /// let name = trine::scope(|s| s.coroutine_with(Builder::new().name("reader"), || ()).name())?;
    /// assert_eq!(name.as_deref(), Some("reader"));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
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
        // The function reaches the builder in a box, and its value goes elsewhere.
        let builder = builder.with_room_for::<F, T>();
        self.start(|| Ok(f()), |at, function| builder.spawn_at(at, function))
    }

    /// Runs `f` on a thread of its own; see [`thread::spawn`].
    ///
    /// ```
    /// let (left, right) = ([1, 2], [3, 4]);
    /// let (a, b) = trine::scope(|s| {
    ///     let a = s.thread(|| left.iter().sum::<u32>());
    ///     let b = s.thread(|| right.iter().sum::<u32>());
    ///     (a.join().unwrap(), b.join().unwrap())
    /// })?;
    /// assert_eq!((a, b), (3, 7));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    #[track_caller]
    pub fn thread<F, T>(&'scope self, f: F) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.thread_with(thread::Builder::new(), f)
    }

    /// Runs `f` on a thread with a name or a stack size.
    ///
    /// ```
    /// use trine::thread::Builder;
    ///
    /// let name = trine::scope(|s| s.thread_with(Builder::new().name("crunch"), || ()).name())?;
    /// assert_eq!(name.as_deref(), Some("crunch"));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    #[track_caller]
    pub fn thread_with<F, T>(&'scope self, builder: thread::Builder, f: F) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.start(|| Ok(f()), |at, function| builder.spawn_at(at, function))
    }

    /// Runs `f(arg)` in a process of its own; see [`process::spawn`] for the values that may cross.
    ///
    /// ```
    /// let ended = trine::supervise(|s| {
    ///     s.process(7, |_: u32| -> () { std::process::abort() }).join()
    /// });
    /// assert!(ended.value?.unwrap_err().is_crash());
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    #[track_caller]
    pub fn process<A, R>(&'scope self, arg: A, f: fn(A) -> R) -> ScopedTask<'scope, R>
    where
        A: Portable,
        R: Portable,
    {
        self.adopt(process::spawn(arg, f))
    }

    /// Runs `f(arg)` on an executor: a pool, or a [`Kind`](crate::Kind) with its default pool.
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
    pub fn on<E, A, R>(&'scope self, executor: &E, arg: A, f: fn(A) -> R) -> ScopedTask<'scope, R>
    where
        E: Executor,
        A: Portable,
        R: Portable,
    {
        self.adopt(executor.spawn(arg, f))
    }

    /// Adds a task that was started elsewhere to this scope, which waits for it, cancels it with
    /// the others and counts its failure. A coroutine watches over it.
    ///
    /// ```
    /// let task = trine::thread::spawn(|| 42);
    /// let value = trine::scope(|s| s.adopt(task).join())??;
    /// assert_eq!(value, 42);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the task is the caller's own: scope and task would wait for each other.
    #[track_caller]
    pub fn adopt<T: Send + 'static>(&'scope self, task: Task<T>) -> ScopedTask<'scope, T> {
        self.adopt_with(task, Ok)
    }

    /// Adds a task whose value `check` converts, or refuses with an error.
    #[track_caller]
    pub(super) fn adopt_with<T, R>(
        &'scope self,
        task: Task<T>,
        check: impl FnOnce(T) -> Result<R, TaskError> + Send + 'scope,
    ) -> ScopedTask<'scope, R>
    where
        T: Send + 'static,
        R: Send + 'scope,
    {
        task.refuse_own_join();
        let info = task.info();
        let mut watched = Watched(Some(task));
        let builder = coroutine::Builder::new().with_room_for::<(), T>();
        let watch = move || watched.join().and_then(check);
        let watcher = self.start(watch, |at, function| builder.spawn_at(at, function));
        ScopedTask { info, ..watcher }
    }

    /// Ends the scope for an error that a task has returned. Returns true if it is the first
    /// failure.
    pub(super) fn fail_returned(&self, by: &str) -> bool {
        self.shared.fail_returned(by)
    }

    /// Requests all tasks of the scope to end, also those that are started later; see
    /// [`Task::cancel`]. This is no failure: the function of the scope goes on, and the scope
    /// returns its value once the tasks have ended.
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
    ///     s.cancel(); // the first answer is enough
    ///     first
    /// })?;
    /// assert_eq!(found, Ok(42));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn cancel(&self) {
        self.cancel_because("its scope was cancelled");
    }

    /// Cancels all tasks with a reason that their errors name; the first reason counts. See
    /// [`cancel`](Scope::cancel).
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::time;
    ///
    /// let ended = trine::scope(|s| {
    ///     let task = s.coroutine(|| time::sleep(Duration::MAX));
    ///     s.cancel_because("the answer is found");
    ///     task.join()
    /// })?;
    /// assert!(ended.unwrap_err().to_string().ends_with("the answer is found"));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn cancel_because(&self, reason: impl Into<Arc<str>>) {
        self.shared.end_all(reason);
    }

    /// Returns true if the scope's tasks were cancelled, by [`cancel`](Scope::cancel) or by a
    /// failure. A task that is started after that does not run.
    ///
    /// ```
    /// let before_and_after = trine::scope(|s| {
    ///     let before = s.is_cancelled();
    ///     s.cancel();
    ///     (before, s.is_cancelled())
    /// })?;
    /// assert_eq!(before_and_after, (false, true));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        self.shared.is_ending()
    }

    /// Starts `f` as a task of the scope by `spawn`, which gets the caller's location.
    #[track_caller]
    pub(super) fn start<F, T>(
        &'scope self,
        f: F,
        spawn: impl FnOnce(&'static Location<'static>, Function) -> Task<()>,
    ) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'scope,
        T: Send + 'scope,
    {
        let starter = self.starter();
        starter.start(self.shared.enter(), Location::caller(), f, spawn)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Returns the part of the scope that starts tasks.
    pub(super) fn starter(&'scope self) -> Starter<'scope> {
        Starter { shared: &self.shared, scope: PhantomData }
    }
}

/// Starts the tasks of one scope. It exists only while the scope does, as a task may.
#[derive(Clone, Copy)]
pub(super) struct Starter<'scope> {
    shared: &'scope Arc<Shared>,
    /// Invariant, for the reason that [`Scope`] is.
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<'scope> Starter<'scope> {
    /// Counts a task that is about to be started for the item of a map with this index.
    pub(super) fn enter_map(self, argument: usize) -> Member {
        let mut member = self.shared.enter();
        member.argument = Some(argument);
        member
    }

    /// Starts `f` as the task of `member` by `spawn`, which gets the location.
    pub(super) fn start<F, T>(
        self,
        member: Member,
        location: &'static Location<'static>,
        f: F,
        spawn: impl FnOnce(&'static Location<'static>, Function) -> Task<()>,
    ) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> Result<T, TaskError> + Send + 'scope,
        T: Send + 'scope,
    {
        let packet = Arc::new(Packet::new());
        let ticket = member.ticket;
        let work = Work {
            function: Some(f),
            deadline: cancel::deadline(),
            packet: Arc::clone(&packet),
            member,
        };
        let function: Box<dyn FnOnce() + Send + 'scope> = Box::new(move || work.run());
        // SAFETY: the scope does not end before the work's member is dropped, which is the last of
        // the function's fields. So everything that lives for `'scope` at least outlives the
        // function, wherever that is, and whether it is called or dropped. The task's own value is
        // `()`.
        let function: Function = unsafe { mem::transmute(function) };
        let task = spawn(location, function);
        self.shared.enlist(ticket, task.canceller());
        ScopedTask { info: task.info(), task, packet, scope: PhantomData }
    }
}

/// A function of a task of a scope, with the scope's lifetime erased.
pub(super) type Function = Box<dyn FnOnce() + Send + 'static>;

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}
