//! The settings of a pool that change its worker processes.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::PoolBuilder;
use crate::process::sandbox::Sandbox;
use crate::process::task::hook::Hook;

impl PoolBuilder {
    /// Sets the name that `ps` and `top` show for the workers, cut to 15 bytes; `trine-worker` by
    /// default.
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
    /// A variable that no environment can hold (its name is empty or has a `=` in it) makes the
    /// pool's tasks end with [`Cause::NotSpawned`](crate::Cause::NotSpawned).
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).env("LANG", "C").build();
    /// assert_eq!(pool.spawn((), |()| std::env::var("LANG").ok()).join()?.as_deref(), Some("C"));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> PoolBuilder {
        self.setup.environment.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the directory in which the workers, and [`preload`](PoolBuilder::preload), start.
    ///
    /// A directory that cannot be entered makes the pool's tasks end with
    /// [`Cause::NotSpawned`](crate::Cause::NotSpawned).
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).current_dir("/").build();
    /// let directory = pool.spawn((), |()| std::env::current_dir().unwrap()).join()?;
    /// assert_eq!(directory, std::path::Path::new("/"));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> PoolBuilder {
        self.setup.current_dir = Some(directory.as_ref().as_os_str().to_owned());
        self
    }

    /// Runs `preload` once, in a process that all workers of the pool are then forked from.
    ///
    /// The statics that it fills are filled in every worker, and in memory once: a page is copied
    /// when a worker writes to it. Loading a model or filling a table so costs one start, not one
    /// for each worker, also when a worker is replaced.
    ///
    /// `preload` is a function item or a closure that captures nothing; a closure that captures
    /// does not compile. It reads its input from the environment ([`env`](PoolBuilder::env)) or
    /// from files. Pools with the same `preload`, variables and directory share one such process
    /// as long as one of them lives.
    ///
    /// ```
    /// use std::sync::OnceLock;
    ///
    /// static WORDS: OnceLock<Vec<&str>> = OnceLock::new();
    /// let load = || WORDS.set(vec!["one", "two"]).unwrap();
    /// let pool = trine::process::Pool::builder().workers(1).preload(load).build();
    /// assert_eq!(pool.spawn(1, |n: usize| WORDS.get().unwrap()[n].to_owned()).join()?, "two");
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// - **Threads.** It may start threads, and has to join them. A thread that still runs a
    ///   second after `preload` has returned makes the pool's tasks end with
    ///   [`Cause::NotSpawned`](crate::Cause::NotSpawned): a fork has one thread, and a lock that
    ///   another thread holds would be locked there forever. Coroutines, `trine::signal` and
    ///   process tasks start threads, so they are for [`initializer`](PoolBuilder::initializer).
    /// - **Descriptors** that it leaves open are open in every worker, under the same numbers. All
    ///   workers share the position in such a file: read it with `read_at`
    ///   ([`FileExt`](std::os::unix::fs::FileExt)). A connection is for one worker: open it in
    ///   `initializer`. Memory that it has mapped stays mapped, shared or private.
    /// - **Random numbers.** A generator that it seeds gives the same numbers in every worker:
    ///   seed it in `initializer`. If `preload` has made a `HashMap`, the hidden keys of the
    ///   `HashMap`s that workers make differ from those of other programs, but not from worker to
    ///   worker.
    /// - **Failure.** A panic ends the pool's tasks with `NotSpawned`, which has its message and
    ///   place. A process that dies of it (a crash, `exit`) is started three times in all; then the
    ///   tasks end with `NotSpawned`, which has the cause of its death. The next task that is
    ///   submitted tries again.
    /// - **Time.** Tasks wait for it, with their deadlines, for as long as
    ///   [`start_timeout`](PoolBuilder::start_timeout) allows. If it never returns,
    ///   [`Pool::shutdown`] does not wait for it, unless tasks do.
    ///
    /// A worker takes longer to fork the more memory it inherits: some 50 ms for each GiB in small
    /// pages.
    ///
    /// [`Pool::shutdown`]: crate::process::Pool::shutdown
    #[track_caller]
    pub fn preload(mut self, preload: fn()) -> PoolBuilder {
        self.preload = Some(Hook::of(preload));
        self
    }

    /// Runs `initializer` in each worker, before its first task, and in each that replaces one.
    ///
    /// It is a function as for [`preload`](PoolBuilder::preload), and may do what a task may: start
    /// threads, open connections, seed generators, set up a logger or a panic hook.
    ///
    /// A worker whose `initializer` panics, crashes, exits or takes longer than
    /// [`start_timeout`](PoolBuilder::start_timeout) is replaced. After three in a row the pool's
    /// tasks end with [`Cause::NotSpawned`](crate::Cause::NotSpawned), which has the cause of the
    /// last failure. The next task that is submitted tries again.
    ///
    /// ```
    /// use std::sync::OnceLock;
    /// use std::time::Instant;
    ///
    /// static STARTED: OnceLock<Instant> = OnceLock::new();
    /// let start = || STARTED.set(Instant::now()).unwrap();
    /// let pool = trine::process::Pool::builder().workers(1).initializer(start).build();
    /// assert!(pool.spawn((), |()| STARTED.get().is_some()).join()?);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    #[track_caller]
    pub fn initializer(mut self, initializer: fn()) -> PoolBuilder {
        self.setup.initializer = Some(Hook::of(initializer));
        self
    }

    /// Has the workers enter the sandbox, after [`initializer`](PoolBuilder::initializer) and
    /// before their first task.
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

    /// Sets whether Ctrl-C and Ctrl-\\ at the terminal (SIGINT, SIGQUIT) end the workers; `false`
    /// by default. See [Ctrl-C and pools](crate::process#ctrl-c-and-pools).
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).interruptible(true).build();
    /// assert_eq!(pool.spawn(2, |n: u8| n + 1).join()?, 3);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn interruptible(mut self, ends: bool) -> PoolBuilder {
        self.setup.interruptible = ends;
        self
    }

    /// Limits the memory of each worker to this many bytes, as
    /// [`Builder::memory_limit`](crate::process::Builder::memory_limit) does. A task that needs
    /// more ends with an error that says so, and its worker is replaced.
    ///
    /// Memory that earlier tasks have left in the worker counts; see
    /// [`tasks_per_worker`](PoolBuilder::tasks_per_worker).
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

    /// Limits the processor time that each task may use, as
    /// [`Builder::cpu_limit`](crate::process::Builder::cpu_limit) does.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let time = Duration::from_millis(20);
    /// let pool = trine::process::Pool::builder().workers(1).cpu_limit(time).build();
    /// let busy = pool.spawn((), |()| -> () { loop { std::hint::spin_loop() } });
    /// assert!(busy.join().unwrap_err().to_string().contains("processor time of 20ms"));
    /// ```
    pub fn cpu_limit(mut self, time: Duration) -> PoolBuilder {
        self.setup.limits.cpu_time = Some(time);
        self
    }

    /// Limits the bytes of each encoded result, as
    /// [`Builder::max_result`](crate::process::Builder::max_result) does; 1 GiB by default. Each
    /// result of a [`map`](crate::Executor::map) counts by itself.
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).max_result(100).build();
    /// let long = pool.spawn(1000, |len: usize| "x".repeat(len)).join().unwrap_err();
    /// assert!(long.to_string().contains("`max_result`"), "{long}");
    /// assert_eq!(pool.spawn(90, |len: usize| "x".repeat(len).len()).join()?, 90);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn max_result(mut self, bytes: u64) -> PoolBuilder {
        self.setup.limits.max_result = Some(bytes);
        self
    }

    /// Limits the descriptors that each worker may have open, to 16 at least, as
    /// [`Builder::open_files`](crate::process::Builder::open_files) does.
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).open_files(16).build();
    /// let open = |()| (0..16).map(|_| std::fs::File::open("/dev/null")).all(|file| file.is_ok());
    /// assert!(pool.spawn((), open).join()?, "each is closed before the next is opened");
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn open_files(mut self, most: u64) -> PoolBuilder {
        self.setup.limits.open_files = Some(most);
        self
    }

    /// Limits the size of the files that each worker makes, in bytes, as
    /// [`Builder::file_size_limit`](crate::process::Builder::file_size_limit) does.
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).file_size_limit(1 << 20).build();
    /// let path = std::env::temp_dir().join(format!("trine-doc-size-{}", std::process::id()));
    /// let write = |path| std::fs::write(path, vec![0; 2 << 20]).is_ok();
    /// assert!(pool.spawn(path.clone(), write).join().unwrap_err().is_crash());
    /// # std::fs::remove_file(path).unwrap();
    /// ```
    pub fn file_size_limit(mut self, bytes: u64) -> PoolBuilder {
        self.setup.limits.file_size = Some(bytes);
        self
    }

    /// Allows or forbids core files of crashed workers, as
    /// [`Builder::core_dumps`](crate::process::Builder::core_dumps) does.
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).core_dumps(false).build();
    /// let crash = pool.spawn((), |()| -> () { std::process::abort() }).join().unwrap_err();
    /// assert!(matches!(crash.cause(), trine::Cause::Signaled { core_dumped: false, .. }));
    /// ```
    pub fn core_dumps(mut self, write: bool) -> PoolBuilder {
        self.setup.limits.core_dumps = Some(write);
        self
    }

    /// Sets the niceness of the workers, from -20 to 19, as
    /// [`Builder::nice`](crate::process::Builder::nice) does.
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).nice(19).build();
    /// assert_eq!(pool.spawn(6, |n: u32| n * 7).join()?, 42);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn nice(mut self, niceness: i32) -> PoolBuilder {
        self.setup.limits.nice = Some(niceness);
        self
    }

    /// Binds the workers to these processors, counted from 0.
    ///
    /// ```
    /// use std::thread::available_parallelism;
    ///
    /// let pool = trine::process::Pool::builder().workers(1).affinity([0]).build();
    /// let processors = pool.spawn((), |()| available_parallelism().map_or(0, usize::from));
    /// assert_eq!(processors.join()?, 1);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn affinity(mut self, processors: impl IntoIterator<Item = usize>) -> PoolBuilder {
        self.setup.limits.processors = Some(processors.into_iter().collect());
        self
    }

    /// Keeps the end of each task's output for its error, as
    /// [`Builder::capture_output`](crate::process::Builder::capture_output) does.
    ///
    /// It takes two more descriptors for each worker. A worker is given no task ahead, so that
    /// output belongs to one task: tiny tasks take longer, and none cross together.
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
}
