//! A pool of worker processes.

use std::panic::Location;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call;
use super::chunk::Chunk;
use super::crew::Crew;
use super::function::CapturesNothing;
use super::job::Job;
use super::policy::{Plan, Policy};
use super::pool_builder::PoolBuilder;
use super::setup::Setup;
use crate::sys::limits;
use crate::task::Task;

/// A fixed number of worker processes that run one task after the other.
///
/// Tasks that find no free worker wait in a queue, which is not bounded and takes no descriptor: two
/// descriptors belong to each *worker*. A worker that dies (a crash, `exit`, a `kill`) ends the one task that it had
/// begun and is replaced; the queue is not touched, and a task that the worker had been given and
/// not begun goes to another.
///
/// A worker keeps what its tasks leave behind: statics, the current directory, threads. For a
/// clean process each time use [`process::spawn`](super::spawn).
///
/// Dropping a pool waits for nobody and loses nothing: what was submitted is finished in the background,
/// then the workers end. [`shutdown`](Pool::shutdown) does the same and waits for it.
///
/// ```
/// use trine::process::Pool;
///
/// let pool = Pool::new(2);
/// let squares: Vec<_> = (1..=4).map(|n: u64| pool.spawn(n, |n| n * n)).collect();
/// let crash = pool.spawn((), |()| -> () { std::process::abort() });
/// let sum: u64 = squares.into_iter().map(|task| task.join().unwrap()).sum();
/// assert_eq!(sum, 30);
/// assert!(crash.join().unwrap_err().is_crash());
/// assert_eq!(pool.spawn(7, |n: i32| n + 1).join()?, 8);
/// pool.shutdown();
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct Pool {
    crew: Arc<Crew>,
    workers: usize,
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

    /// Starts `workers` workers.
    pub(super) fn start(workers: usize, policy: Policy, setup: &Setup) -> Pool {
        let crew = Crew::new(policy, setup);
        crew.start();
        Pool { crew, workers }
    }

    /// How long a worker may go on with a task that was cancelled, or whose time is up, before it is
    /// killed and replaced; 2 seconds if it is not set. See [`process`](super).
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::new(1).grace(Duration::from_millis(10));
    /// let deaf = pool.spawn((), |()| -> () { loop { std::hint::spin_loop() } });
    /// deaf.cancel();
    /// assert!(deaf.join().unwrap_err().is_cancelled());
    /// ```
    #[must_use]
    pub fn grace(self, grace: Duration) -> Pool {
        self.crew.set_grace(grace);
        self
    }

    /// Runs `function` on `arg` in one of the workers.
    ///
    /// What `function` may be, and how the task can fail, is told at [`process::spawn`](super::spawn).
    #[track_caller]
    pub fn spawn<A, R, F>(&self, arg: A, function: F) -> Task<R>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let _proof = const { CapturesNothing::<F>::check() };
        self.spawn_at(Location::caller(), arg, function)
    }

    pub(crate) fn spawn_at<A, R, F>(
        &self,
        location: &'static Location<'static>,
        arg: A,
        function: F,
    ) -> Task<R>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let proof = const { CapturesNothing::<F>::check() };
        let (task, job) = call::prepare(None, location, arg, function, proof);
        if let Some(job) = job {
            self.crew.submit(job);
        }
        task
    }

    pub(crate) fn spawn_chunk_at<A, R, F>(
        &self,
        location: &'static Location<'static>,
        args: Vec<A>,
        function: F,
    ) -> Task<Chunk<R>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let proof = const { CapturesNothing::<F>::check() };
        let (task, job) = call::prepare_chunk(location, args, function, proof);
        if let Some(job) = job {
            self.crew.submit(job);
        }
        task
    }

    /// How many workers the pool wants to have.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The process ids of the workers that there are now, in no particular order.
    ///
    /// A pool starts and replaces workers in the background, so there may be fewer than
    /// [`workers`](Pool::workers); one that has just been killed may still be listed.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.crew.pids()
    }

    /// Finishes what was submitted, ends the workers, and waits until the last one is gone.
    ///
    /// A worker that is not needed and still in its initializer, or not forked because its template does
    /// not answer, is waited for one second, then killed or given up. A task that was submitted is
    /// waited for, however long it takes; what keeps it from ending keeps this from returning.
    ///
    /// Parks the coroutine it is called in, or the thread where there is none. A task that is cancelled
    /// meanwhile is unwound, and the pool finishes by itself.
    pub fn shutdown(self) {
        self.crew.close();
        self.crew.wait_until_gone();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.crew.close();
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// The pool that stands behind [`Kind::Process`](crate::Kind::Process): one worker for each core,
/// started at the first call.
///
/// ```
/// assert_eq!(trine::process::pool().spawn("abc".to_owned(), |s| s.len()).join()?, 3);
/// # Ok::<(), trine::TaskError>(())
/// ```
pub fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool::builder().build())
}

/// Runs a task in a fresh process, when there is room for one.
pub(super) fn submit_fresh(job: Job, captures: bool) {
    /// However many descriptors there are: more processes than this help nobody.
    const MOST: u64 = 4096;
    static CREWS: [OnceLock<Arc<Crew>>; 2] = [const { OnceLock::new() }; 2];
    let crew = CREWS[usize::from(captures)].get_or_init(|| {
        // Two descriptors for each process, or four, and as many again for the program's own use.
        let each = if captures { 8 } else { 4 };
        let most = limits::descriptors().map_or(MOST, |limit| (limit / each).clamp(1, MOST));
        let policy = Policy::new(Plan::Fresh(most as usize));
        Crew::new(policy, &Setup { captures, ..Setup::default() })
    });
    crew.submit(job);
}
