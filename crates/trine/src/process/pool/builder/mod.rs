//! The builder of a pool: its number of workers, and how it deals with tasks and workers.
//!
//! The settings that change the worker processes themselves are in `process.rs`, those of crash
//! capsules in `capsules.rs`.

mod capsules;
mod process;

use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use super::policy::{Plan, Policy};
use crate::process::capsule::settings::Settings;
use crate::process::capsule::store::{Directory, Store};
use crate::process::service::spec::TemplateSpec;
use crate::process::task::hook::Hook;
use crate::process::worker::setup::Setup;

/// Builds a [`Pool`] with settings of its own; made by [`Pool::builder`].
///
/// For code that may crash, take too long or need too much memory:
///
/// ```
/// use std::time::Duration;
/// use trine::{Executor, process::Pool};
///
/// fn halve(n: u32) -> u32 {
///     if n == 7 { std::process::abort() } else { n / 2 }
/// }
///
/// let pool = Pool::builder()
///     .workers(2)
///     .memory_limit(256 << 20) //           bytes, for each worker
///     .timeout(Duration::from_secs(10)) //  for each task, from its beginning
///     .retries(2) //                        of a task whose worker crashed
///     .build();
/// for (n, half) in pool.map(0..10, halve).enumerate() {
///     match half {
///         Ok(half) => println!("{n}: {half}"),
///         Err(error) => assert_eq!((n, error.attempt()), (7, 3), "{error}"),
///     }
/// }
/// ```
///
/// With memory that is loaded once:
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
    policy: Policy,
    fresh: bool,
    preload: Option<Hook>,
    setup: Setup,
    capsules: Option<Directory>,
}

impl Pool {
    /// Starts a pool of `workers` processes, in the background.
    ///
    /// If no worker can be started, each task ends with
    /// [`Cause::NotSpawned`](crate::Cause::NotSpawned), which has the reason, and each new task
    /// makes a new attempt. A pool that got some of its workers works with those.
    ///
    /// ```
    /// let pool = trine::process::Pool::new(2);
    /// assert_eq!(pool.spawn(20, |n: u8| n + 1).join()?, 21);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `workers` is 0: no task would ever run.
    pub fn new(workers: usize) -> Pool {
        Pool::builder().workers(workers).build()
    }

    /// Returns a builder for a pool with settings of its own.
    ///
    /// ```
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::builder().workers(2).env("LANG", "C").build();
    /// assert_eq!(pool.spawn((), |()| std::env::var("LANG").unwrap()).join()?, "C");
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn builder() -> PoolBuilder {
        PoolBuilder::new()
    }
}

impl PoolBuilder {
    fn new() -> PoolBuilder {
        // `build`, which knows the number of workers, sets the plan.
        let policy = Policy::new(Plan::Kept(0));
        let setup = Setup::default();
        PoolBuilder { workers: None, policy, fresh: false, preload: None, setup, capsules: None }
    }

    /// Makes the builder of a pool that replays a capsule, in one worker.
    pub(in crate::process) fn of_capsule(
        settings: Settings,
        limit: Option<Duration>,
    ) -> PoolBuilder {
        let Settings { fresh, preload, setup, grace, start } = settings;
        let mut policy = Policy::new(Plan::Kept(1));
        (policy.grace, policy.start, policy.limit) = (grace, start, limit);
        PoolBuilder { workers: Some(1), policy, fresh, preload, setup, capsules: None }
    }

    /// Sets the number of worker processes; one for each core by default.
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(3).build();
    /// assert_eq!(pool.workers(), 3);
    /// ```
    pub fn workers(mut self, workers: usize) -> PoolBuilder {
        self.workers = Some(workers);
        self
    }

    /// Sets the time that a worker may go on with a task that was cancelled, or whose time is up,
    /// before it is killed and replaced; 2 seconds by default. See [`process`](crate::process).
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::builder().workers(1).grace(Duration::from_millis(10)).build();
    /// let deaf = pool.spawn((), |()| -> () { loop { std::hint::spin_loop() } });
    /// deaf.cancel();
    /// assert!(deaf.join().unwrap_err().is_cancelled());
    /// ```
    pub fn grace(mut self, grace: Duration) -> PoolBuilder {
        self.policy.grace = grace;
        self
    }

    /// Runs each task in a process of its own, forked for it.
    ///
    /// [`process::spawn`](crate::process::spawn) does the same, but these processes have the
    /// pool's `preload`, environment and so on. There are at most
    /// [`workers`](PoolBuilder::workers) of them at one time.
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).fresh_process_per_task().build();
    /// let pid = |()| std::process::id();
    /// assert_ne!(pool.spawn((), pid).join()?, pool.spawn((), pid).join()?);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn fresh_process_per_task(mut self) -> PoolBuilder {
        self.fresh = true;
        self
    }

    /// Sets how many times a task runs again after a crash of its process
    /// ([`TaskError::is_crash`](crate::TaskError::is_crash)); 0 by default, as a task may have had
    /// effects.
    ///
    /// A panic, a value that cannot cross, a cancellation or a timeout is no crash. Each argument
    /// of a [`map`](crate::Executor::map) is retried by itself.
    /// [`TaskError::attempt`](crate::TaskError::attempt) returns the number of the last run. A
    /// task waits between its runs: see [`backoff`](PoolBuilder::backoff).
    ///
    /// ```
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::builder().workers(2).retries(2).build();
    /// // Crashes in its first two runs; the length of the file is the number of runs.
    /// let path = std::env::temp_dir().join(format!("trine-doc-{}", std::process::id()));
    /// let task = pool.spawn(path.clone(), |path| {
    ///     let runs = std::fs::read(&path).map_or(0, |bytes| bytes.len());
    ///     std::fs::write(path, vec![0; runs + 1]).unwrap();
    ///     if runs < 2 { std::process::abort() } else { runs }
    /// });
    /// assert_eq!(task.join()?, 2);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn retries(mut self, retries: u32) -> PoolBuilder {
        self.policy.retries = retries;
        self
    }

    /// Sets the pause before the first retry of a task; 10 ms by default. Each later pause is twice
    /// as long, up to a second, or to `first` if that is longer.
    ///
    /// During a pause the task can be cancelled and its deadline holds. [`Pool::shutdown`] waits
    /// for it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::builder().workers(1).retries(1).backoff(Duration::from_millis(1)).build();
    /// let crash = pool.spawn((), |()| -> () { std::process::abort() });
    /// assert_eq!(crash.join().unwrap_err().attempt(), 2);
    /// ```
    pub fn backoff(mut self, first: Duration) -> PoolBuilder {
        self.policy.pause = first;
        self
    }

    /// Sets the time that each task may run, from its beginning in the worker; not bounded by
    /// default.
    ///
    /// The time of a [`timeout`](crate::time::timeout) around `spawn` also counts while the task is
    /// queued; the earlier limit holds.
    ///
    /// When the time is up, the task's waits end. A task that has not ended then is asked to end,
    /// and killed with its worker after the [`grace`](PoolBuilder::grace). The error is
    /// [`Cause::TimedOut`](crate::Cause::TimedOut). That holds for a stopped process (SIGSTOP),
    /// too. A map over such a pool sends each argument by itself.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Pool;
    ///
    /// let (limit, grace) = (Duration::from_millis(50), Duration::from_millis(10));
    /// let pool = Pool::builder().workers(1).timeout(limit).grace(grace).build();
    /// let task = pool.spawn((), |()| -> () { loop { std::hint::spin_loop() } });
    /// assert!(task.join().unwrap_err().is_timeout());
    /// ```
    ///
    /// With `Duration::ZERO` no task can wait, and each that is found running is ended.
    pub fn timeout(mut self, limit: Duration) -> PoolBuilder {
        self.policy.limit = Some(limit);
        self
    }

    /// Sets the time that a worker may take to start, from its fork until its
    /// [`initializer`](PoolBuilder::initializer) has returned; not bounded by default.
    ///
    /// The same time bounds the process that workers are forked from: for its
    /// [`preload`](PoolBuilder::preload), then for each fork.
    ///
    /// A process that takes longer, because it hangs or was stopped (SIGSTOP), is killed and
    /// started again. After three in a row the pool's tasks end with
    /// [`Cause::NotSpawned`](crate::Cause::NotSpawned), and the next task that is submitted tries
    /// again. Meanwhile tasks wait, with their deadlines.
    ///
    /// Pools with different times share no process that workers are forked from.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Pool;
    ///
    /// let limit = Duration::from_millis(10);
    /// let pool = Pool::builder().workers(1).start_timeout(limit).initializer(|| loop {
    ///     std::thread::park();
    /// });
    /// let error = pool.build().spawn(1, |n: u8| n).join().unwrap_err();
    /// assert!(error.to_string().contains("`start_timeout`"));
    /// ```
    pub fn start_timeout(mut self, limit: Duration) -> PoolBuilder {
        self.policy.start = Some(limit);
        self
    }

    /// Replaces a worker after this number of tasks, for code that leaks; never by default.
    ///
    /// The next worker is forked before the old worker has ended. Each argument of a map counts;
    /// arguments that cross together are run to their end.
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).tasks_per_worker(2).build();
    /// let pids: Vec<u32> = (0..4).map(|_| pool.spawn((), |()| std::process::id()))
    ///     .map(|task| task.join().unwrap())
    ///     .collect();
    /// assert!(pids[0] == pids[1] && pids[1] != pids[2] && pids[2] == pids[3]);
    /// ```
    ///
    /// # Panics
    ///
    /// If `tasks` is 0: such a worker would be of no use.
    pub fn tasks_per_worker(mut self, tasks: u64) -> PoolBuilder {
        assert!(tasks > 0, "a worker has to be allowed one task at least");
        self.policy.tasks_per_worker = tasks;
        self
    }

    /// Ends workers that were idle for this time, down to
    /// [`min_workers`](PoolBuilder::min_workers); never by default.
    ///
    /// Workers are then forked when tasks wait for them, not when the pool starts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::builder().workers(2).idle_timeout(Duration::from_millis(5)).build();
    /// assert_eq!(pool.spawn(1, |n: u8| n).join()?, 1);
    /// while !pool.worker_pids().is_empty() {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(pool.spawn(2, |n: u8| n).join()?, 2);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn idle_timeout(mut self, timeout: Duration) -> PoolBuilder {
        self.policy.idle = Some(timeout);
        self
    }

    /// Sets the number of workers that a pool with an [`idle_timeout`](PoolBuilder::idle_timeout)
    /// starts with and keeps; 0 by default, and never more than [`workers`](PoolBuilder::workers).
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Pool;
    ///
    /// let idle = Duration::from_millis(5);
    /// let pool = Pool::builder().workers(4).idle_timeout(idle).min_workers(1).build();
    /// while pool.worker_pids().len() != 1 {
    ///     std::thread::yield_now();
    /// }
    /// ```
    pub fn min_workers(mut self, workers: usize) -> PoolBuilder {
        self.policy.fewest = workers;
        self
    }

    /// Bounds the tasks that are submitted and have not ended: to this number beyond one for each
    /// worker. Not bounded by default.
    ///
    /// At the bound [`spawn`](Pool::spawn) waits, and [`try_spawn`](Pool::try_spawn) refuses.
    /// With all workers busy, at most `tasks` others wait; with 0, `spawn` waits for a free
    /// worker. Arguments of a map that cross together count as one task.
    ///
    /// ```
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::builder().workers(1).queue(0).build();
    /// let sleeper = pool.spawn((), |()| trine::time::sleep(std::time::Duration::MAX));
    /// assert!(pool.try_spawn(1, |n: u8| n).is_err());
    /// sleeper.cancel();
    /// ```
    pub fn queue(mut self, tasks: usize) -> PoolBuilder {
        self.policy.queue = Some(tasks);
        self
    }

    /// Starts the pool, in the background.
    ///
    /// If no worker can be started, or a limit makes no sense, each task ends with
    /// [`Cause::NotSpawned`](crate::Cause::NotSpawned), which has the reason, and each new task
    /// makes a new attempt. A pool that got some of its workers works with those.
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).nice(20).build();
    /// let error = pool.spawn(1, |n: u8| n).join().unwrap_err();
    /// assert!(error.to_string().contains("there is no niceness 20"));
    /// ```
    ///
    /// # Panics
    ///
    /// If [`workers`](PoolBuilder::workers) was set to 0: no task would ever run.
    pub fn build(self) -> Pool {
        let PoolBuilder { workers, mut policy, fresh, preload, mut setup, capsules } = self;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = workers.unwrap_or_else(cores);
        assert!(workers > 0, "a pool needs at least one worker");
        policy.plan = if fresh { Plan::Fresh(workers) } else { Plan::Kept(workers) };
        policy.fewest = policy.fewest.min(workers);
        if let Some(directory) = capsules {
            let (setup, grace, start) = (setup.clone(), policy.grace, policy.start);
            let settings = Settings { fresh, preload, setup, grace, start };
            policy.capsules = Some(Store::new(directory, &settings));
        }
        policy.unfit = setup.prepare().err();
        policy.spec = Arc::new(TemplateSpec::new(preload, &setup, policy.start));
        Pool::start(workers, policy, &setup)
    }
}
