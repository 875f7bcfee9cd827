//! A pool of worker processes, and which of its workers gets which task.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | [`Pool`] |
//! | `builder/` | [`PoolBuilder`] |
//! | `global.rs` | the pools that exist without being built |
//! | `policy.rs` | the settings of a pool that stay in the master |
//! | `stats.rs` | [`PoolStats`] |
//! | `handle.rs` | the handle's side of a task: joining, cancelling |
//! | `replies.rs` | the way of a reply from a worker to its joiner |
//! | `dispatcher.rs` | the dispatcher: submitting and ending tasks, alarms |
//! | `events.rs` | the dispatcher: events of its workers |
//! | `state/` | the dispatcher's decisions, made under its lock |
//! | `worker.rs` | the state of one worker: its tasks, and how they reach it |
//! | `link.rs` | the descriptors and shared memory of one worker |
//! | `deferred.rs` | the work left until the dispatcher's lock is given back |
//! | `tests.rs` | tests of the settings of workers |
//!
//! [`PoolBuilder`]: builder::PoolBuilder

pub(super) mod builder;
mod deferred;
pub(super) mod dispatcher;
mod events;
pub(super) mod global;
pub(super) mod handle;
pub(super) mod link;
mod policy;
pub(super) mod replies;
mod state;
pub(super) mod stats;
mod worker;

use std::error::Error;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::capsule::contents::{Argument, Call as Recorded};
use super::portable::Portable;
use super::service;
use super::task::encode;
use super::task::job::Job;
use super::task::record::Record;
use super::wire;
use super::worker::setup::Setup;
use crate::sync::SemaphorePermit;
use crate::task::Task;
use dispatcher::Dispatcher;
use handle::{Chunk, ChunkRemote, Remote};
use policy::Policy;
use stats::PoolStats;

/// A number of worker processes that run one task after the other.
///
/// Tasks that find no free worker wait in a queue. It is not bounded unless
/// [`queue`](super::PoolBuilder::queue) was set, and takes no descriptors: each *worker* takes two.
///
/// A worker that dies (a crash, `exit`, a `kill`) ends the one task that it had begun, and is
/// replaced. The queue is not touched. A task that the worker was given and had not begun goes to
/// another worker.
///
/// A worker keeps what its tasks leave behind: statics, the current directory, threads. For a clean
/// process each time use [`fresh_process_per_task`](super::PoolBuilder::fresh_process_per_task) or
/// [`process::spawn`](super::spawn). [`PoolBuilder`] has the other settings: limits, retries, the
/// lifetime of workers.
///
/// Dropping a pool waits for nothing and loses nothing: submitted tasks are finished in the
/// background, then the workers end. [`shutdown`](Pool::shutdown) does the same and waits for it;
/// [`stop`](Pool::stop) ends the submitted tasks.
///
/// [`PoolBuilder`]: super::PoolBuilder
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

    /// Sets the time that a worker may go on with a task that was cancelled, or whose time is up,
    /// before it is killed and replaced; 2 seconds by default. See [`process`](super).
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
    /// [`process::spawn`](super::spawn) lists the conditions on `function`, and the ways in which a
    /// task can fail.
    ///
    /// Does not wait, unless the pool's [`queue`](super::PoolBuilder::queue) is bounded and full.
    /// Then it parks the calling coroutine, or the thread if there is none, until there is room.
    /// A caller that is cancelled meanwhile is unwound.
    ///
    /// ```
    /// let pool = trine::process::Pool::new(1);
    /// let task = pool.spawn("abc".to_owned(), |text| text.len());
    /// assert_eq!(task.join()?, 3);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    #[track_caller]
    pub fn spawn<A, R>(&self, arg: A, function: fn(A) -> R) -> Task<R>
    where
        A: Portable,
        R: Portable,
    {
        self.spawn_at(Location::caller(), arg, function)
    }

    pub(crate) fn spawn_at<A, R>(
        &self,
        location: &'static Location<'static>,
        arg: A,
        function: fn(A) -> R,
    ) -> Task<R>
    where
        A: Portable,
        R: Portable,
    {
        let permit = self.dispatcher.admit();
        self.spawn_admitted(permit, location, arg, function)
    }

    fn spawn_admitted<A, R>(
        &self,
        permit: Option<SemaphorePermit<'_>>,
        location: &'static Location<'static>,
        arg: A,
        function: fn(A) -> R,
    ) -> Task<R>
    where
        A: Portable,
        R: Portable,
    {
        let (limit, max_result) = (self.dispatcher.limit(), self.dispatcher.max_result());
        let settings = (None, limit, max_result);
        let (task, job) = prepare(&self.dispatcher, settings, location, arg, function);
        self.submit(permit, job);
        task
    }

    /// Submits a task, unless it has ended already. Its end gives the permit back.
    fn submit(&self, permit: Option<SemaphorePermit<'_>>, job: Option<Job>) {
        if let Some(job) = job {
            permit.into_iter().for_each(SemaphorePermit::forget);
            submit(&self.dispatcher, job);
        }
    }

    /// Like [`spawn`](Pool::spawn), but never waits.
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
    /// The [`queue`](super::PoolBuilder::queue) is full; the error has the argument.
    #[track_caller]
    pub fn try_spawn<A, R>(&self, arg: A, function: fn(A) -> R) -> Result<Task<R>, QueueFull<A>>
    where
        A: Portable,
        R: Portable,
    {
        match self.dispatcher.try_admit() {
            Ok(permit) => Ok(self.spawn_admitted(permit, Location::caller(), arg, function)),
            Err(()) => Err(QueueFull(arg)),
        }
    }

    pub(crate) fn spawn_chunk_at<A, R>(
        &self,
        location: &'static Location<'static>,
        args: Vec<A>,
        function: fn(A) -> R,
    ) -> Task<Chunk<R>>
    where
        A: Portable,
        R: Portable,
    {
        let permit = self.dispatcher.admit();
        let most = self.dispatcher.max_result();
        let (task, job) = encode::prepare_chunk(location, args, function, most, |record| {
            ChunkRemote::new(record, &self.dispatcher)
        });
        self.submit(permit, job);
        task
    }

    /// Spawns the task of a capsule, without its result.
    ///
    /// # Errors
    ///
    /// There is no memory for its argument.
    pub(super) fn replay(&self, call: &Recorded, argument: Argument) -> Result<Task<()>, String> {
        let (bytes, descriptors) = argument.unpack()?;
        let name: Option<Arc<str>> = call.name.as_deref().map(Into::into);
        let location = call.place();
        let frame = wire::Call {
            function: call.function,
            location: call.location,
            name: call.name.clone(),
            deadline: None,
            limit: self.dispatcher.limit(),
            items: None,
        };
        // A unit takes no bytes, so whatever the result is, it is decoded.
        let record = || Record::new(name, location).with_max_result(self.dispatcher.max_result());
        let handle = || Remote::<()>::new(record(), &self.dispatcher);
        let (task, job) = encode::prepare_encoded(frame, (&bytes, descriptors), handle);
        submit(&self.dispatcher, job);
        Ok(task)
    }

    /// Returns true if many arguments may cross as one task.
    pub(crate) fn takes_chunks(&self) -> bool {
        !self.dispatcher.takes_single_tasks_only()
    }

    /// Returns the most workers that the pool has at one time.
    ///
    /// ```
    /// assert_eq!(trine::process::Pool::new(2).workers(), 2);
    /// ```
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Returns the process ids of the present workers, in no particular order.
    ///
    /// A pool starts and replaces workers in the background, and may end idle ones
    /// ([`idle_timeout`](super::PoolBuilder::idle_timeout)), so there may be fewer than
    /// [`workers`](Pool::workers). A worker that was just killed may still be listed.
    ///
    /// ```
    /// let pool = trine::process::Pool::new(1);
    /// let pid = pool.spawn((), |()| std::process::id()).join()?;
    /// assert_eq!(pool.worker_pids(), [pid]);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn worker_pids(&self) -> Vec<u32> {
        self.dispatcher.pids()
    }

    /// Returns statistics of the pool. They are always kept: this call costs a lock and a look at
    /// each worker.
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

    /// Finishes the submitted tasks, ends the workers, and waits until the last worker has ended.
    ///
    /// Submitted tasks are waited for, however long they take. A worker that is not needed gets
    /// one second, if its initializer runs or its template does not reply; then it is killed or
    /// given up.
    ///
    /// Parks the calling coroutine, or the thread if there is none. A task that is cancelled
    /// meanwhile is unwound, and the pool finishes by itself.
    ///
    /// ```
    /// let pool = trine::process::Pool::new(1);
    /// let task = pool.spawn(20, |n: u8| n + 1);
    /// pool.shutdown();
    /// assert!(task.is_finished());
    /// ```
    pub fn shutdown(self) {
        self.dispatcher.close();
        self.dispatcher.wait_until_ended();
        self.dispatcher.wait_until_written();
    }

    /// Ends the tasks and the workers, and waits until the last worker has ended.
    ///
    /// Tasks that have not begun end at once, as cancelled, with the reason that the pool was
    /// stopped. Running tasks are cancelled. They have the time `within` to end, also if
    /// [`grace`](super::PoolBuilder::grace) is longer. Then every worker that is left is killed.
    ///
    /// So this returns after `within`, or a second later if a template does not reply that was
    /// asked for a worker.
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
    /// Parks the calling coroutine, or the thread if there is none. A task that is cancelled
    /// meanwhile is unwound, and the pool ends by itself.
    pub fn stop(self, within: Duration) {
        self.dispatcher.end(within);
        self.dispatcher.wait_until_ended();
    }
}

/// The error of [`Pool::try_spawn`] when the queue is full; holds the argument of the refused task.
///
/// ```
/// use trine::process::{Pool, QueueFull};
///
/// let pool = Pool::builder().workers(1).queue(0).build();
/// let sleeper = pool.spawn((), |()| trine::time::sleep(std::time::Duration::MAX));
/// let Err(QueueFull(argument)) = pool.try_spawn(7, |n: u8| n) else { unreachable!() };
/// assert_eq!(argument, 7);
/// sleeper.cancel();
/// ```
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
pub(super) fn prepare<A, R>(
    dispatcher: &Arc<Dispatcher>,
    settings: (Option<Arc<str>>, Option<Duration>, u64),
    location: &'static Location<'static>,
    arg: A,
    function: fn(A) -> R,
) -> (Task<R>, Option<Job>)
where
    A: Portable,
    R: Portable,
{
    let handle = |record| Remote::new(record, dispatcher);
    encode::prepare(settings, location, arg, function, handle)
}

/// Submits a task to its dispatcher, and starts the service if need be.
pub(super) fn submit(dispatcher: &Arc<Dispatcher>, job: Job) {
    dispatcher.submit(job, service::get);
}

#[cfg(test)]
mod tests;
