//! Chooses what is different in a pool.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::function::CapturesNothing;
use super::lineage::Origin;
use super::policy::{Plan, Policy};
use super::pool::Pool;
use super::prologue::Prologue;
use super::sandbox::Sandbox;
use super::setup::Setup;

/// Chooses what is different in a [`Pool`]; made by [`Pool::builder`].
///
/// ```
/// use std::sync::OnceLock;
/// use trine::process::Pool;
///
/// static SQUARES: OnceLock<Vec<u64>> = OnceLock::new();
///
/// let pool = Pool::builder()
///     .workers(2)
///     // Once, in the process that all workers are copies of.
///     .preload(|| SQUARES.set((0..1000).map(|n| n * n).collect()).unwrap())
///     // In each worker, before its first task.
///     .initializer(|| println!("worker {} is here", std::process::id()))
///     .build();
/// assert_eq!(pool.spawn(30, |n: usize| SQUARES.get().unwrap()[n]).join()?, 900);
/// # Ok::<(), trine::TaskError>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder starts nothing before `build`"]
pub struct PoolBuilder {
    workers: Option<usize>,
    grace: Option<Duration>,
    preload: Option<Prologue>,
    setup: Setup,
}

impl PoolBuilder {
    pub(super) fn new() -> PoolBuilder {
        PoolBuilder { workers: None, grace: None, preload: None, setup: Setup::default() }
    }

    /// How many worker processes; one for each core if it is not set.
    pub fn workers(mut self, workers: usize) -> PoolBuilder {
        self.workers = Some(workers);
        self
    }

    /// How long a worker may go on with a task that was cancelled, or whose time is up, before it is
    /// killed and replaced; 2 seconds if it is not set. See [`process`](super).
    pub fn grace(mut self, grace: Duration) -> PoolBuilder {
        self.grace = Some(grace);
        self
    }

    /// What `ps` and `top` show for the workers, cut to 15 bytes; `trine-worker` if it is not set.
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).name("decoder").build();
    /// let shown = pool.spawn((), |()| std::fs::read_to_string("/proc/self/comm").unwrap());
    /// assert_eq!(shown.join()?, "decoder\n");
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> PoolBuilder {
        self.setup.name = Some(name.into());
        self
    }

    /// Sets a variable in the environment of the workers, and of [`preload`](PoolBuilder::preload).
    ///
    /// One that no environment can hold (its name is empty or has a `=` in it) makes the pool's tasks
    /// end with [`Cause::NotSpawned`](crate::Cause::NotSpawned).
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> PoolBuilder {
        self.setup.environment.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Has the workers, and [`preload`](PoolBuilder::preload), start in this directory.
    ///
    /// One that cannot be entered makes the pool's tasks end with
    /// [`Cause::NotSpawned`](crate::Cause::NotSpawned).
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> PoolBuilder {
        self.setup.current_dir = Some(directory.as_ref().as_os_str().to_owned());
        self
    }

    /// Runs `preload` once, in a process that all workers of the pool are then forked from.
    ///
    /// What it leaves in statics is there in every worker, and in memory once: a page is copied when a
    /// worker writes to it. Loading a model or filling a table so costs one start, not one for
    /// each worker, also when a worker is replaced.
    ///
    /// `preload` is a function item or a closure that captures nothing; one that captures does not
    /// compile. It reads what it needs from the environment ([`env`](PoolBuilder::env)) or from files. Pools
    /// with the same `preload`, variables and directory share one such process as long as one of them
    /// lives.
    ///
    /// - **Threads.** It may start threads, and has to join them. One that still runs a second after
    ///   `preload` has returned makes the pool's tasks end with
    ///   [`Cause::NotSpawned`](crate::Cause::NotSpawned): a fork has one thread, and a lock that
    ///   another one holds would be locked there for ever. So coroutines, `trine::signal` and process tasks,
    ///   which start threads, are for [`initializer`](PoolBuilder::initializer).
    /// - **Descriptors** that it leaves open are open in every worker, under the same numbers. All workers share
    ///   the position in such a file: read it with `read_at`
    ///   ([`FileExt`](std::os::unix::fs::FileExt)). A connection is for one worker: open it in
    ///   `initializer`. Memory that it has mapped stays mapped, shared or private as it is.
    /// - **Random numbers.** A generator that it seeds gives the same numbers in every worker: seed it in
    ///   `initializer`. So it is with the hidden keys of a `HashMap` that a worker makes: they differ
    ///   from those of other programs, but not from worker to worker, if `preload` has made a `HashMap`.
    /// - **Failure.** A panic ends the pool's tasks with `NotSpawned`, which has its message and place. If its
    ///   process dies of it (a crash, `exit`), it is started again, at most three times in a row; then the
    ///   tasks end with `NotSpawned`, which says how it died. The next task that is submitted tries again.
    /// - **Time.** Tasks wait for it, with their deadlines. Should it never return, [`Pool::shutdown`] does not
    ///   wait for it, unless tasks do.
    ///
    /// A worker takes longer to fork the more memory it inherits: about 10 ms for each GiB in small
    /// pages.
    #[track_caller]
    pub fn preload<F: Fn() + Copy + Send + 'static>(mut self, preload: F) -> PoolBuilder {
        let proof = const { CapturesNothing::<F>::check_prologue() };
        self.preload = Some(Prologue::of(preload, proof));
        self
    }

    /// Runs `initializer` in each worker, before its first task, and in each that replaces one.
    ///
    /// It is a function as for [`preload`](PoolBuilder::preload), and may do what a task may: start threads,
    /// open connections, seed generators, set up a logger or a panic hook.
    ///
    /// A worker whose `initializer` panics, crashes or exits is replaced; after three in a row the pool's
    /// tasks end with [`Cause::NotSpawned`](crate::Cause::NotSpawned), which says what happened to the last
    /// one. The next task that is submitted tries again.
    #[track_caller]
    pub fn initializer<F: Fn() + Copy + Send + 'static>(mut self, initializer: F) -> PoolBuilder {
        let proof = const { CapturesNothing::<F>::check_prologue() };
        self.setup.initializer = Some(Prologue::of(initializer, proof));
        self
    }

    /// Has the workers give up what `sandbox` says, after [`initializer`](PoolBuilder::initializer) and before their first
    /// task.
    ///
    /// ```
    /// use trine::process::{Pool, Sandbox};
    ///
    /// let pool = Pool::builder().workers(1).sandbox(Sandbox::new().no_network()).build();
    /// let connected = pool.spawn((), |()| std::net::TcpStream::connect("127.0.0.1:80").is_ok());
    /// assert!(!connected.join()?);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn sandbox(mut self, sandbox: Sandbox) -> PoolBuilder {
        self.setup.sandbox = Some(sandbox);
        self
    }

    /// Starts the pool, in the background.
    ///
    /// If its workers cannot be started, the tasks say why: each is a
    /// [`Cause::NotSpawned`](crate::Cause::NotSpawned), and each new one makes a new attempt. A pool
    /// that got some of its workers works with those.
    ///
    /// # Panics
    ///
    /// If [`workers`](PoolBuilder::workers) was set to 0: no task would ever run.
    pub fn build(self) -> Pool {
        let PoolBuilder { workers, grace, preload, setup } = self;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = workers.unwrap_or_else(cores);
        assert!(workers > 0, "a pool needs at least one worker");
        let mut policy = Policy::new(Plan::Kept(workers));
        policy.grace = grace.unwrap_or(policy.grace);
        if let Some(preload) = preload {
            policy.origin = Arc::new(Origin::new(preload, &setup));
        }
        Pool::start(workers, policy, &setup)
    }
}
