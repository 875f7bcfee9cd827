//! Chooses what is different in a pool.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Pool;
use super::policy::{Plan, Policy};
use crate::process::sandbox::Sandbox;
use crate::process::service::spec::TemplateSpec;
use crate::process::task::function::CapturesNothing;
use crate::process::task::hook::Hook;
use crate::process::worker::setup::Setup;

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
    policy: Policy,
    fresh: bool,
    preload: Option<Hook>,
    setup: Setup,
}

impl Pool {
    /// Starts a pool of `workers` processes, in the background.
    ///
    /// If they cannot be started, the tasks say why: each is a
    /// [`Cause::NotSpawned`](crate::Cause::NotSpawned), and each new one makes a new attempt. A pool
    /// that got some of its workers works with those.
    ///
    /// # Panics
    ///
    /// If `workers` is 0: no task would ever run.
    pub fn new(workers: usize) -> Pool {
        Pool::builder().workers(workers).build()
    }

    /// Chooses what is different in a pool.
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
    pub(in crate::process) fn new() -> PoolBuilder {
        // The plan is set by `build`, which knows the number of workers.
        let policy = Policy::new(Plan::Kept(0));
        PoolBuilder { workers: None, policy, fresh: false, preload: None, setup: Setup::default() }
    }

    /// How many worker processes; one for each core if it is not set.
    pub fn workers(mut self, workers: usize) -> PoolBuilder {
        self.workers = Some(workers);
        self
    }

    /// How long a worker may go on with a task that was cancelled, or whose time is up, before it is
    /// killed and replaced; 2 seconds if it is not set. See [`process`](super).
    pub fn grace(mut self, grace: Duration) -> PoolBuilder {
        self.policy.grace = grace;
        self
    }

    /// Runs each task in a process of its own, forked for it, as [`process::spawn`](crate::process::spawn) does, but with the
    /// pool's `preload`, environment and so on. There are at most [`workers`](PoolBuilder::workers) at one time.
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

    /// Runs a task again, up to so many times, if its process has died under it
    /// ([`TaskError::is_crash`](crate::TaskError::is_crash)); 0 if it is not set, as a task may have had effects.
    ///
    /// A panic, a value that cannot cross, a cancellation or a timeout is no crash. Of a [`map`](crate::Executor::map)
    /// each argument is retried by itself. [`TaskError::attempt`](crate::TaskError::attempt) tells in which run the task
    /// has failed for good. Between the runs it waits: see [`backoff`](PoolBuilder::backoff).
    ///
    /// ```
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::builder().workers(2).retries(2).build();
    /// // Crashes unless it is lucky; by then the file knows how often it has run.
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

    /// How long a task waits before it is run again for the first time; each time after that takes twice as long, up
    /// to a second, or to `first` if that is longer. 10 ms if it is not set.
    ///
    /// A task that waits so can be cancelled, its deadline holds, and [`Pool::shutdown`] waits for it.
    pub fn backoff(mut self, first: Duration) -> PoolBuilder {
        self.policy.pause = first;
        self
    }

    /// How long each task may run, from its beginning in the worker on; as long as it likes if that is not set. (The time
    /// of a [`timeout`](crate::time::timeout) around `spawn` also counts while the task is queued; the earlier one
    /// holds.)
    ///
    /// When it is up, the task's waits end; what has not ended then is asked to, and after the
    /// [`grace`](PoolBuilder::grace) killed with its worker. The error is
    /// [`Cause::TimedOut`](crate::Cause::TimedOut). That holds for a process that somebody has stopped, too. A map
    /// over such a pool sends each argument by itself.
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

    /// How long a worker may take to start: from its fork until [`initializer`](PoolBuilder::initializer) has returned;
    /// and the process that it is forked from, for [`preload`](PoolBuilder::preload), then for each fork. As long as
    /// they like if that is not set.
    ///
    /// What takes longer, because it hangs or somebody has stopped it (SIGSTOP), is killed and started again. After
    /// three in a row the pool's tasks end with [`Cause::NotSpawned`](crate::Cause::NotSpawned), and the next task that
    /// is submitted tries again. Meanwhile tasks wait, with their deadlines.
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

    /// Replaces a worker when it has run so many tasks: for code that leaks. The next worker is forked before the old
    /// one is gone. Each argument of a map counts; those that cross together are run to their end.
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

    /// Ends workers that have had no task for so long, down to [`min_workers`](PoolBuilder::min_workers). Workers are then
    /// forked when tasks wait for them, not when the pool starts.
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

    /// How many workers the pool starts with and keeps, though they may have no task, if it has an
    /// [`idle_timeout`](PoolBuilder::idle_timeout); 0 if it is not set, and never more than
    /// [`workers`](PoolBuilder::workers).
    pub fn min_workers(mut self, workers: usize) -> PoolBuilder {
        self.policy.fewest = workers;
        self
    }

    /// Bounds what may be submitted: so many tasks that have not ended, beyond one for each worker. Then
    /// [`spawn`](Pool::spawn) waits, and [`try_spawn`](Pool::try_spawn) refuses. Not bounded if it is not set.
    ///
    /// With all workers at work, at most `tasks` others wait; with 0, `spawn` waits for a worker to be free. Arguments
    /// of a map that cross together count as one.
    pub fn queue(mut self, tasks: usize) -> PoolBuilder {
        self.policy.queue = Some(tasks);
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
    ///   process dies of it (a crash, `exit`), it is started three times in all; then the
    ///   tasks end with `NotSpawned`, which says how it died. The next task that is submitted tries again.
    /// - **Time.** Tasks wait for it, with their deadlines, for as long as
    ///   [`start_timeout`](PoolBuilder::start_timeout) allows. Should it never return, [`Pool::shutdown`] does not
    ///   wait for it, unless tasks do.
    ///
    /// A worker takes longer to fork the more memory it inherits: some 50 ms for each GiB in small
    /// pages.
    #[track_caller]
    pub fn preload<F: Fn() + Copy + Send + 'static>(mut self, preload: F) -> PoolBuilder {
        let proof = const { CapturesNothing::<F>::check_prologue() };
        self.preload = Some(Hook::of(preload, proof));
        self
    }

    /// Runs `initializer` in each worker, before its first task, and in each that replaces one.
    ///
    /// It is a function as for [`preload`](PoolBuilder::preload), and may do what a task may: start threads,
    /// open connections, seed generators, set up a logger or a panic hook.
    ///
    /// A worker whose `initializer` panics, crashes, exits or takes longer than
    /// [`start_timeout`](PoolBuilder::start_timeout) is replaced; after three in a row the pool's
    /// tasks end with [`Cause::NotSpawned`](crate::Cause::NotSpawned), which says what happened to the last
    /// one. The next task that is submitted tries again.
    #[track_caller]
    pub fn initializer<F: Fn() + Copy + Send + 'static>(mut self, initializer: F) -> PoolBuilder {
        let proof = const { CapturesNothing::<F>::check_prologue() };
        self.setup.initializer = Some(Hook::of(initializer, proof));
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

    /// Limits the memory of each worker to so many bytes, as [`Builder::memory_limit`](crate::process::Builder::memory_limit) does. A task that needs more ends
    /// with an error that says so, and its worker is replaced.
    ///
    /// What earlier tasks have left in the worker counts; see [`tasks_per_worker`](PoolBuilder::tasks_per_worker).
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).memory_limit(64 << 20).build();
    /// let greedy = pool.spawn(1 << 30, |len: usize| vec![1_u8; len].len());
    /// assert!(greedy.join().unwrap_err().is_out_of_memory());
    /// assert_eq!(pool.spawn(10, |len: usize| vec![1_u8; len].len()).join()?, 10);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn memory_limit(mut self, bytes: u64) -> PoolBuilder {
        self.setup.limits.memory = Some(bytes);
        self
    }

    /// Limits the processor time that each task may use, as [`Builder::cpu_limit`](crate::process::Builder::cpu_limit) does.
    pub fn cpu_limit(mut self, time: Duration) -> PoolBuilder {
        self.setup.limits.cpu_time = Some(time);
        self
    }

    /// How many descriptors a worker may have open, 16 at least, as [`Builder::open_files`](crate::process::Builder::open_files) says.
    pub fn open_files(mut self, most: u64) -> PoolBuilder {
        self.setup.limits.open_files = Some(most);
        self
    }

    /// How large a worker may make a file, in bytes, as [`Builder::file_size_limit`](crate::process::Builder::file_size_limit) says.
    pub fn file_size_limit(mut self, bytes: u64) -> PoolBuilder {
        self.setup.limits.file_size = Some(bytes);
        self
    }

    /// Whether a crash of a worker may write a core file, as [`Builder::core_dumps`](crate::process::Builder::core_dumps) says.
    pub fn core_dumps(mut self, write: bool) -> PoolBuilder {
        self.setup.limits.core_dumps = Some(write);
        self
    }

    /// How nice the workers are to others, from -20 to 19, as [`Builder::nice`](crate::process::Builder::nice) says.
    pub fn nice(mut self, niceness: i32) -> PoolBuilder {
        self.setup.limits.nice = Some(niceness);
        self
    }

    /// Has the workers run on these processors only, counted from 0.
    pub fn affinity(mut self, processors: impl IntoIterator<Item = usize>) -> PoolBuilder {
        self.setup.limits.processors = Some(processors.into_iter().collect());
        self
    }

    /// Keeps the end of what each task prints for its error, as [`Builder::capture_output`](crate::process::Builder::capture_output) does.
    ///
    /// It takes two more descriptors for each worker, and a worker is given no task ahead of its time, so that it is
    /// known which task has printed what: tiny tasks take longer, and none cross together.
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).capture_output().build();
    /// let task = pool.spawn((), |()| -> () {
    ///     eprintln!("no such planet");
    ///     std::process::abort()
    /// });
    /// assert_eq!(task.join().unwrap_err().stderr(), b"no such planet\n");
    /// ```
    pub fn capture_output(mut self) -> PoolBuilder {
        self.setup.captures = true;
        self
    }

    /// Starts the pool, in the background.
    ///
    /// If its workers cannot be started, the tasks say why: each is a
    /// [`Cause::NotSpawned`](crate::Cause::NotSpawned), and each new one makes a new attempt. A pool
    /// that got some of its workers works with those. A limit that makes no sense is such a reason, too.
    ///
    /// # Panics
    ///
    /// If [`workers`](PoolBuilder::workers) was set to 0: no task would ever run.
    pub fn build(self) -> Pool {
        let PoolBuilder { workers, mut policy, fresh, preload, mut setup } = self;
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = workers.unwrap_or_else(cores);
        assert!(workers > 0, "a pool needs at least one worker");
        policy.plan = if fresh { Plan::Fresh(workers) } else { Plan::Kept(workers) };
        policy.fewest = policy.fewest.min(workers);
        policy.unfit = setup.prepare().err();
        policy.spec = Arc::new(TemplateSpec::new(preload, &setup, policy.start));
        Pool::start(workers, policy, &setup)
    }
}
