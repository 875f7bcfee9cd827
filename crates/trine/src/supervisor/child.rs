//! The description of a child: the function that it runs, and the rules for its restarts.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::context::{Context, Sent};
use super::reports::{Flags, Reports};
use crate::process::{Pointer, Portable};
use crate::sys::limits;
use crate::task::{self, Cause, Kind, Task, TaskError};
use crate::{coroutine, process, thread};

/// The result of a child's function: `()`, or a `Result` whose error is a failure of the child. The
/// function may also loop forever.
///
/// ```
/// use trine::supervisor::Child;
///
/// fn serve() -> std::io::Result<()> {
///     Ok(()) // … until it fails
/// }
///
/// let (_fails, _does_not) = (Child::coroutine(|_| serve()), Child::thread(|_| ()));
/// let _never_returns = Child::thread(|_| loop {
///     std::thread::park(); // … and then some work
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "a child's function returns `()`, `Result<(), E>` or never, not `{Self}`"
)]
pub trait Ending {
    /// Turns it into a result whose error is a text, which can cross between processes.
    ///
    /// # Errors
    ///
    /// The child has failed.
    fn into_result(self) -> Result<(), String>;
}

impl Ending for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> Ending for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}

/// Gives a name to `!`, the type of a function that never returns, which has none on stable Rust.
pub trait Returned {
    type Type;
}

impl<T> Returned for fn() -> T {
    type Type = T;
}

impl Ending for <fn() -> ! as Returned>::Type {
    fn into_result(self) -> Result<(), String> {
        self
    }
}

/// The ends after which a child is started again.
///
/// ```
/// use trine::supervisor::{Child, Restart};
///
/// // It returns, and is done.
/// let child = Child::coroutine(|_| println!("once")).restart(Restart::Transient);
/// trine::supervisor().child("once", child).run()?;
/// # Ok::<(), trine::supervisor::SupervisorError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Any. A child that returns has failed, too. The default.
    #[default]
    Permanent,
    /// A failure: a panic, the death of its process, an error that its function returns.
    Transient,
    /// None. Its failure is no failure of the supervisor and ends no other child.
    Temporary,
}

/// A child of a [`Supervisor`](super::Supervisor): a function that can be run again, as a
/// coroutine, on a thread or in a process.
///
/// The function of a coroutine or a thread may capture. That of a process captures nothing and has
/// an argument, which is sent to each process anew; see [`process::spawn`].
///
/// ```
/// use trine::supervisor::{Child, Restart};
///
/// let greeting = String::from("hello");
/// trine::supervisor()
///     .child("a", Child::coroutine(move |_| println!("{greeting}")).restart(Restart::Transient))
///     .child("b", Child::thread(|_| println!("hello")).restart(Restart::Transient))
///     .child(
///         "c",
///         Child::process(String::from("hello"), |_, greeting| println!("{greeting}"))
///             .restart(Restart::Transient),
///     )
///     .run()?;
/// # Ok::<(), trine::supervisor::SupervisorError>(())
/// ```
#[must_use = "a child does nothing until it is given to a supervisor"]
pub struct Child {
    pub(super) kind: Kind,
    pub(super) restart: Restart,
    pub(super) reports_ready: bool,
    pub(super) health: Option<Duration>,
    launch: Box<Launch>,
}

/// Starts one run of a child.
type Launch = dyn Fn(Run) -> Result<(Task<Result<(), String>>, Reports), TaskError> + Send + Sync;

/// The parts of one run that differ from those of other runs.
pub(super) struct Run {
    pub(super) name: Arc<str>,
    pub(super) restarts: u64,
    /// True if the supervisor waits for reports.
    pub(super) reports: bool,
    pub(super) health: Option<Duration>,
    pub(super) supervisor: Waker,
}

impl Run {
    /// Makes the context of a coroutine or a thread, and the supervisor's side of it.
    fn flags(&self) -> (Context, Reports) {
        let flags = Arc::new(Flags::new(self.supervisor.clone()));
        let (name, flags_of_child) = (Arc::clone(&self.name), Arc::clone(&flags));
        let context = Context::of_flags(name, self.restarts, self.health, flags_of_child);
        (context, Reports::Flags(flags))
    }

    /// Makes the context of a process, and the supervisor's side of it.
    fn pipe(&self) -> Result<(Sent, Reports), TaskError> {
        let pipe = self.reports.then(|| Reports::pipe(self.health)).transpose();
        let (reports, reporter) = pipe
            .map_err(|error| {
                let reason = limits::explain_missing("pipe for the reports of a child", &error);
                TaskError::new(Cause::NotSpawned { reason }, task::current())
            })?
            .unzip();
        let sent = Sent { name: self.name.to_string(), restarts: self.restarts, reporter };
        Ok((sent, reports.unwrap_or(Reports::None)))
    }
}

impl Child {
    pub(super) fn new(kind: Kind, launch: Box<Launch>) -> Child {
        let restart = Restart::default();
        Child { kind, restart, reports_ready: false, health: None, launch }
    }

    pub(super) fn launch(
        &self,
        run: Run,
    ) -> Result<(Task<Result<(), String>>, Reports), TaskError> {
        (self.launch)(run)
    }

    /// Makes a child that runs `f` as a coroutine.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::{supervisor::Child, time};
    ///
    /// let child = Child::coroutine(|_| loop {
    ///     time::sleep(Duration::from_secs(60)); // … and then some work
    /// });
    /// let supervisor = trine::supervisor().child("ticker", child).start();
    /// supervisor.stop()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    #[track_caller]
    pub fn coroutine<F, T>(f: F) -> Child
    where
        F: Fn(&Context) -> T + Send + Sync + 'static,
        T: Ending,
    {
        Child::coroutine_with(coroutine::Builder::new(), f)
    }

    /// Makes a child that runs `f` as a coroutine with a stack size. The name is the child's.
    ///
    /// ```
    /// use trine::supervisor::{Child, Restart};
    ///
    /// let builder = trine::coroutine::Builder::new().stack_size(1 << 20);
    /// let child = Child::coroutine_with(builder, |_| ()).restart(Restart::Transient);
    /// trine::supervisor().child("parser", child).run()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    #[track_caller]
    pub fn coroutine_with<F, T>(builder: coroutine::Builder, f: F) -> Child
    where
        F: Fn(&Context) -> T + Send + Sync + 'static,
        T: Ending,
    {
        let (f, at) = (Arc::new(f), Location::caller());
        let launch = move |run: Run| {
            let ((context, reports), f) = (run.flags(), Arc::clone(&f));
            let builder = builder.clone().name(Arc::clone(&run.name));
            Ok((builder.spawn_at(at, move || f(&context).into_result()), reports))
        };
        Child::new(Kind::Coroutine, Box::new(launch))
    }

    /// Makes a child that runs `f` on a thread of its own.
    ///
    /// A thread cannot be killed. If it neither waits in a call of trine nor asks
    /// [`cancelled`](crate::cancelled), it does not end, and the supervisor waits for it: it starts
    /// no second one beside it. Code that may hang is for a process.
    ///
    /// ```
    /// use trine::supervisor::Child;
    ///
    /// let child = Child::thread(|_| {
    ///     while !trine::cancelled() {
    ///         std::hint::spin_loop();
    ///     }
    /// });
    /// let supervisor = trine::supervisor().child("busy", child).start();
    /// supervisor.stop()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    #[track_caller]
    pub fn thread<F, T>(f: F) -> Child
    where
        F: Fn(&Context) -> T + Send + Sync + 'static,
        T: Ending,
    {
        Child::thread_with(thread::Builder::new(), f)
    }

    /// Makes a child that runs `f` on a thread with a stack size. The name is the child's.
    ///
    /// ```
    /// use trine::supervisor::{Child, Restart};
    ///
    /// let builder = trine::thread::Builder::new().stack_size(1 << 20);
    /// let child = Child::thread_with(builder, |_| ()).restart(Restart::Transient);
    /// trine::supervisor().child("crunch", child).run()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    #[track_caller]
    pub fn thread_with<F, T>(builder: thread::Builder, f: F) -> Child
    where
        F: Fn(&Context) -> T + Send + Sync + 'static,
        T: Ending,
    {
        let (f, at) = (Arc::new(f), Location::caller());
        let launch = move |run: Run| {
            let ((context, reports), f) = (run.flags(), Arc::clone(&f));
            let builder = builder.clone().name(&*run.name);
            Ok((builder.spawn_at(at, move || f(&context).into_result()), reports))
        };
        Child::new(Kind::Thread, Box::new(launch))
    }

    /// Makes a child that runs `f` on `arg` in a process of its own. It does so in a new process
    /// each time, and `arg` is encoded for each.
    ///
    /// ```
    /// use trine::supervisor::{Child, Restart};
    ///
    /// // It crashes in its first process, and not in the second.
    /// let child = Child::process(1, |context, limit: u64| {
    ///     if context.restarts() < limit {
    ///         std::process::abort();
    ///     }
    /// });
    /// let child = child.restart(Restart::Transient);
    /// trine::supervisor().child("crasher", child).run()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    #[track_caller]
    pub fn process<A, T>(arg: A, f: fn(&Context, A) -> T) -> Child
    where
        A: Portable + Sync,
        T: Ending + 'static,
    {
        Child::process_with(process::Builder::new(), arg, f)
    }

    /// Makes a child that runs `f` on `arg` in a process with settings: limits, a sandbox, an
    /// environment. The name is the child's.
    ///
    /// The [`grace`](process::Builder::grace) is the time that the process has to end when the
    /// supervisor ends it: 2 seconds by default, then it is killed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::supervisor::Child;
    ///
    /// let builder = trine::process::Builder::new().grace(Duration::ZERO);
    /// let child = Child::process_with(builder, (), |_, ()| loop {
    ///     std::hint::spin_loop() // cannot be cancelled, but killed
    /// });
    /// trine::supervisor().child("deaf", child).start().stop()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    #[track_caller]
    pub fn process_with<A, T>(builder: process::Builder, arg: A, f: fn(&Context, A) -> T) -> Child
    where
        A: Portable + Sync,
        T: Ending + 'static,
    {
        let (arg, at) = (Arc::new(arg), Location::caller());
        let launch = move |run: Run| {
            let failed = |cause| TaskError::new(cause, task::current());
            let pointer = Pointer::of(f).map_err(failed)?;
            let (sent, reports) = run.pipe()?;
            let builder = builder.clone().name(Arc::clone(&run.name));
            let argument = (sent, pointer, Argument::Kept(Arc::clone(&arg)));
            Ok((builder.spawn_at(at, argument, call::<A, T>), reports))
        };
        Child::new(Kind::Process, Box::new(launch))
    }

    /// Sets after which ends the child is started again; [`Restart::Permanent`] by default.
    pub fn restart(mut self, restart: Restart) -> Child {
        self.restart = restart;
        self
    }

    /// Has the supervisor wait for [`Context::ready`] before it starts the next child. By default a
    /// child counts as ready when it is spawned.
    ///
    /// A child that never reports holds up the start of those after it; give it a
    /// [`health`](Child::health) interval.
    ///
    /// ```
    /// use std::sync::{Arc, OnceLock};
    /// use trine::supervisor::{Child, Restart};
    ///
    /// let table = Arc::new(OnceLock::new());
    /// let same = Arc::clone(&table);
    /// let load = Child::thread(move |context| {
    ///     table.get_or_init(|| vec![2, 3, 5]);
    ///     context.ready();
    /// });
    /// let serve = Child::coroutine(move |_| assert_eq!(same.get().unwrap()[0], 2));
    /// trine::supervisor()
    ///     .child("load", load.restart(Restart::Transient).reports_ready())
    ///     .child("serve", serve.restart(Restart::Transient))
    ///     .run()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    pub fn reports_ready(mut self) -> Child {
        self.reports_ready = true;
        self
    }

    /// Has the supervisor end the child if it reports nothing for a whole `interval`, by
    /// [`Context::alive`] or [`Context::ready`]; then it is a failure like any other.
    ///
    /// The supervisor looks once in an interval, so silence is found after at most two. A coroutine
    /// or thread is cancelled. A process is cancelled, too, and killed after its
    /// [`grace`](process::Builder::grace). An interval beyond the clock's range never ends.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::supervisor::{Child, Failure};
    ///
    /// let hangs = Child::coroutine(|_| trine::time::sleep(Duration::MAX));
    /// let supervisor = trine::supervisor()
    ///     .intensity(0, Duration::MAX)
    ///     .child("hangs", hangs.health(Duration::from_millis(1)));
    /// let error = supervisor.run().unwrap_err();
    /// assert!(matches!(error.failures()[0].1, Failure::Silent(_)));
    /// ```
    ///
    /// # Panics
    ///
    /// If `interval` is zero.
    #[track_caller]
    pub fn health(mut self, interval: Duration) -> Child {
        assert!(!interval.is_zero(), "no child reports in no time; give it an interval");
        self.health = Some(interval);
        self
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("kind", &self.kind)
            .field("restart", &self.restart)
            .field("reports_ready", &self.reports_ready)
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}

/// Calls the function of a process.
fn call<A, T: Ending>(
    (sent, function, arg): (Sent, Pointer<Context, A, T>, Argument<A>),
) -> Result<(), String> {
    match arg {
        Argument::Arrived(arg) => function.call(&sent.into(), arg).into_result(),
        Argument::Kept(_) => unreachable!("the argument was decoded"),
    }
}

/// The argument of a process, which the supervisor keeps for the next one. It is encoded by
/// reference, so it need not be `Clone`.
enum Argument<A> {
    Kept(Arc<A>),
    Arrived(A),
}

impl<A: Serialize> Serialize for Argument<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Argument::Kept(arg) => arg.as_ref().serialize(serializer),
            Argument::Arrived(arg) => arg.serialize(serializer),
        }
    }
}

impl<'de, A: Deserialize<'de>> Deserialize<'de> for Argument<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Argument<A>, D::Error> {
        A::deserialize(deserializer).map(Argument::Arrived)
    }
}
