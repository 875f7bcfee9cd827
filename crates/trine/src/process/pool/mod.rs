//! A pool of worker processes.

pub(super) mod builder;
mod deferred;
pub(super) mod dispatcher;
pub(super) mod global;
pub(super) mod handle;
pub(super) mod link;
mod policy;
mod queue;
pub(super) mod replies;
mod retries;
mod state;
pub(super) mod stats;
mod worker;

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::service;
use super::task::encode;
use super::task::function::CapturesNothing;
use super::task::job::Job;
use super::worker::setup::Setup;
use crate::sync::SemaphorePermit;
use crate::task::Task;
use dispatcher::Dispatcher;
use handle::{Chunk, ChunkRemote, Remote};
use policy::Policy;
use stats::PoolStats;

/// A number of worker processes that run one task after the other.
///
/// Tasks that find no free worker wait in a queue, which is not bounded unless [`queue`](PoolBuilder::queue) says so,
/// and takes no descriptor: two descriptors belong to each *worker*. A worker that dies (a crash, `exit`, a `kill`) ends the one task that it had
/// begun and is replaced; the queue is not touched, and a task that the worker had been given and
/// not begun goes to another.
///
/// A worker keeps what its tasks leave behind: statics, the current directory, threads. For a
/// clean process each time use [`fresh_process_per_task`](PoolBuilder::fresh_process_per_task) or
/// [`process::spawn`](super::spawn). What else can be chosen, [`PoolBuilder`] tells: limits, retries, how long
/// workers live.
///
/// Dropping a pool waits for nobody and loses nothing: what was submitted is finished in the background,
/// then the workers end. [`shutdown`](Pool::shutdown) does the same and waits for it; [`stop`](Pool::stop) ends what
/// was submitted.
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
    dispatcher: Arc<Dispatcher>,
    workers: usize,
}

impl Pool {
    /// Starts `workers` workers.
    fn start(workers: usize, policy: Policy, setup: &Setup) -> Pool {
        let dispatcher = Dispatcher::new(policy, setup);
        dispatcher.start(service::get);
        Pool { dispatcher, workers }
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
        self.dispatcher.set_grace(grace);
        self
    }

    /// Runs `function` on `arg` in one of the workers.
    ///
    /// What `function` may be, and how the task can fail, is told at [`process::spawn`](super::spawn).
    ///
    /// Does not wait, unless the pool's [`queue`](PoolBuilder::queue) is bounded and full: then it parks the coroutine
    /// it is called in, or the thread where there is none, until there is room. A caller that is cancelled
    /// meanwhile is unwound.
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
        let permit = self.dispatcher.admit();
        self.spawn_admitted(permit, location, arg, function)
    }

    fn spawn_admitted<A, R, F>(
        &self,
        permit: Option<SemaphorePermit<'_>>,
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
        let limit = self.dispatcher.limit();
        let (task, job) = prepare(&self.dispatcher, (None, limit), location, arg, function, proof);
        self.submit(permit, job);
        task
    }

    /// Submits a task, unless it has ended already; it takes the permit with it.
    fn submit(&self, permit: Option<SemaphorePermit<'_>>, job: Option<Job>) {
        if let Some(job) = job {
            permit.into_iter().for_each(SemaphorePermit::forget);
            submit(&self.dispatcher, job);
        }
    }

    /// As [`spawn`](Pool::spawn), and never waits.
    ///
    /// ```
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::builder().workers(1).queue(1).build();
    /// let mut tasks = Vec::new();
    /// let refused = loop {
    ///     match pool.try_spawn("abc".to_owned(), |text| text.len()) {
    ///         Ok(task) => tasks.push(task),
    ///         Err(full) => break full.0,
    ///     }
    ///     # if tasks.len() > 100_000 { break "abc".to_owned() }
    /// };
    /// assert_eq!(refused, "abc");
    /// for task in tasks {
    ///     assert_eq!(task.join()?, 3);
    /// }
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The [`queue`](PoolBuilder::queue) is full. The argument comes back.
    #[track_caller]
    pub fn try_spawn<A, R, F>(&self, arg: A, function: F) -> Result<Task<R>, QueueFull<A>>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let _proof = const { CapturesNothing::<F>::check() };
        match self.dispatcher.try_admit() {
            Ok(permit) => Ok(self.spawn_admitted(permit, Location::caller(), arg, function)),
            Err(()) => Err(QueueFull(arg)),
        }
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
        let permit = self.dispatcher.admit();
        let (task, job) = encode::prepare_chunk(location, args, function, proof, |record| {
            ChunkRemote::new(record, &self.dispatcher)
        });
        self.submit(permit, job);
        task
    }

    /// Whether many arguments may cross as one task.
    pub(crate) fn takes_chunks(&self) -> bool {
        !self.dispatcher.takes_single_tasks_only()
    }

    /// How many workers the pool has at the most.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The process ids of the workers that there are now, in no particular order.
    ///
    /// A pool starts and replaces workers in the background, and may end those that rest
    /// ([`idle_timeout`](PoolBuilder::idle_timeout)), so there may be fewer than [`workers`](Pool::workers); one that has
    /// just been killed may still be listed.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.dispatcher.pids()
    }

    /// What the pool has done so far, and is doing: counted anyway, so to ask costs a lock and a look at each worker.
    ///
    /// ```
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::builder().workers(1).retries(1).build();
    /// let crash = pool.spawn((), |()| -> () { std::process::abort() });
    /// assert_eq!(crash.join().unwrap_err().attempt(), 2);
    /// assert_eq!(pool.spawn(1, |n: u8| n).join()?, 1);
    /// let stats = pool.stats();
    /// assert_eq!((stats.completed, stats.failed, stats.crashed, stats.retried), (1, 1, 1, 1));
    /// assert_eq!(stats.workers_lost, 2);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn stats(&self) -> PoolStats {
        self.dispatcher.stats()
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
        self.dispatcher.close();
        self.dispatcher.wait_until_gone();
    }

    /// Ends the tasks and the workers, and waits until the last one is gone.
    ///
    /// Tasks that have not begun end at once, as cancelled, with a reason that says that the pool was stopped. Those
    /// that run are cancelled; they have the time `within` to end, also if [`grace`](PoolBuilder::grace) is longer. Then
    /// every worker that is still there is killed. So this returns after `within`, or a second later where a template
    /// does not answer that was asked for a worker.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::new(1);
    /// let deaf = pool.spawn((), |()| -> () { loop { std::hint::spin_loop() } });
    /// let waiting = pool.spawn(1, |n: u8| n);
    /// pool.stop(Duration::from_millis(10));
    /// assert!(deaf.join().unwrap_err().is_cancelled());
    /// assert!(waiting.join().unwrap_err().is_cancelled());
    /// ```
    ///
    /// Parks the coroutine it is called in, or the thread where there is none. A task that is cancelled
    /// meanwhile is unwound, and the pool ends by itself.
    pub fn stop(self, within: Duration) {
        self.dispatcher.end(within);
        self.dispatcher.wait_until_gone();
    }
}

/// The queue of a [`Pool`] is full; here is the argument of the task that was to be spawned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct QueueFull<A>(pub A);

impl<A> fmt::Display for QueueFull<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue of the process pool is full")
    }
}

impl<A> fmt::Debug for QueueFull<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueFull(..)")
    }
}

impl<A> Error for QueueFull<A> {}

impl Drop for Pool {
    fn drop(&mut self) {
        self.dispatcher.close();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// Creates a task for the dispatcher, as [`encode::prepare`] does.
pub(super) fn prepare<A, R, F>(
    dispatcher: &Arc<Dispatcher>,
    (name, limit): (Option<Arc<str>>, Option<Duration>),
    location: &'static Location<'static>,
    arg: A,
    function: F,
    proof: CapturesNothing<F>,
) -> (Task<R>, Option<Job>)
where
    A: Serialize + DeserializeOwned + Send + 'static,
    R: Serialize + DeserializeOwned + Send + 'static,
    F: Fn(A) -> R + Copy + Send + 'static,
{
    let handle = |record| Remote::new(record, dispatcher);
    encode::prepare((name, limit), location, arg, function, proof, handle)
}

/// Submits a task to its dispatcher, and starts the service if need be.
pub(super) fn submit(dispatcher: &Arc<Dispatcher>, job: Job) {
    dispatcher.submit(job, service::get);
}

#[cfg(test)]
mod tests;
