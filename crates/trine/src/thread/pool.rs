//! A pool of threads with one queue, in the order of arrival.

use std::cell::Cell;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::Location;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::thread;

use crate::sys::process::fork_detect::{self, Origin};
use crate::sys::{limits, signal};
use crate::task::job::{self, Job, Run};
use crate::task::{Cause, Kind, Task, park, wait};

/// A fixed number of threads that run tasks as they come.
///
/// Threads start with the first tasks, not with the pool. After the pool is dropped, its tasks
/// finish in the background; [`shutdown`](Pool::shutdown) waits for them.
///
/// A task that waits for another task of the same pool holds its thread meanwhile: once all threads
/// wait so, the pool is deadlocked.
///
/// ```
/// let pool = trine::thread::Pool::new(4);
/// let squares: Vec<_> = (1..=3_u64).map(|n| pool.spawn(move || n * n)).collect();
/// let sum: u64 = squares.into_iter().map(|task| task.join().unwrap()).sum();
/// assert_eq!(sum, 14);
/// ```
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    size: usize,
    state: Mutex<State>,
    /// Notified when a job is queued and when the pool is closed.
    job: Condvar,
    /// The process that has the threads.
    origin: Origin,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Arc<dyn Run>>,
    threads: usize,
    idle: usize,
    /// True if no more jobs will come: threads end when the queue is empty.
    closed: bool,
    /// Wakes the caller of `shutdown`, which waits for the last thread to end.
    watcher: Option<Waker>,
}

thread_local! {
    /// The pool that the calling thread belongs to, only for comparison. The thread keeps it alive,
    /// so no other pool has this address.
    static WORKS_FOR: Cell<*const Shared> = const { Cell::new(ptr::null()) };
}

impl Pool {
    /// Makes a pool of at most `threads` threads.
    ///
    /// # Panics
    ///
    /// If `threads` is 0.
    pub fn new(threads: usize) -> Pool {
        assert!(threads > 0, "a pool without threads would never run a task");
        let state = Mutex::new(State::default());
        let (job, origin) = (Condvar::new(), Origin::new());
        Pool { shared: Arc::new(Shared { size: threads, state, job, origin }) }
    }

    /// Returns the number of threads that the pool may have.
    ///
    /// ```
    /// assert_eq!(trine::thread::Pool::new(4).size(), 4);
    /// ```
    pub fn size(&self) -> usize {
        self.shared.size
    }

    /// Runs `f` on a thread of the pool, after the tasks that were spawned before.
    ///
    /// ```
    /// let pool = trine::thread::Pool::new(1);
    /// let word = String::from("closures are fine");
    /// assert_eq!(pool.spawn(move || word.len()).join()?, 17);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// None here. If the system refuses the pool its first thread, the task ends with
    /// [`Cause::NotSpawned`].
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_at(Location::caller(), f)
    }

    pub(crate) fn spawn_at<F, T>(&self, location: &'static Location<'static>, f: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let job = Arc::new(Job::new(Kind::Thread, None, location, move || park::with_end(f)));
        self.shared.submit(Arc::clone(&job) as Arc<dyn Run>);
        // SAFETY: the one handle of this job.
        unsafe { Task::from_backend(job) }
    }

    /// Waits until all tasks have finished and the threads have ended.
    ///
    /// Parks the calling coroutine, or the thread outside any coroutine. A caller that is cancelled
    /// meanwhile is unwound, and the pool finishes in the background.
    ///
    /// ```
    /// let pool = trine::thread::Pool::new(2);
    /// let task = pool.spawn(|| 7);
    /// pool.shutdown();
    /// assert!(task.is_finished());
    /// ```
    ///
    /// # Panics
    ///
    /// If a task of the pool itself calls it, which would wait for its own end, and no deadline
    /// ends that wait.
    #[track_caller]
    pub fn shutdown(self) {
        assert!(
            WORKS_FOR.get() != Arc::as_ptr(&self.shared) || wait::has_limit(),
            "a task of a pool waits for the pool's end, and so for its own: drop the pool there, \
             which does not wait, or call `shutdown` outside"
        );
        self.shared.close();
        let waker = park::waker();
        loop {
            let mut state = self.shared.lock();
            if state.threads == 0 || self.shared.is_in_copy(&state) {
                return;
            }
            state.watcher = Some(waker.clone());
            drop(state);
            wait::or_unwind(None);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    /// Closes the queue: threads end when it is empty.
    fn close(&self) {
        self.lock().closed = true;
        self.job.notify_all();
    }

    /// Returns true if this process is a copy of the one that has the pool's threads.
    fn is_in_copy(&self, state: &State) -> bool {
        state.threads > 0 && self.origin.is_elsewhere()
    }

    /// Locks the state. No code of a task runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job for an idle thread, or starts another thread if there is room.
    fn submit(self: &Arc<Shared>, job: Arc<dyn Run>) {
        let mut state = self.lock();
        if self.is_in_copy(&state) {
            drop(state);
            if job.slot().claim() {
                let reason = fork_detect::explain("the threads of its pool exist");
                // SAFETY: claimed.
                unsafe { job.refuse(Cause::NotSpawned { reason }) };
            }
            return;
        }
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() {
            drop(state);
            return self.job.notify_one();
        }
        if state.threads == self.size {
            return;
        }
        state.threads += 1;
        self.origin.note();
        drop(state);
        let shared = Arc::clone(self);
        let started = thread::Builder::new().name("trine-pool".into()).spawn(move || {
            signal::stack::ensure();
            shared.work();
        });
        if let Err(error) = started {
            self.handle_refusal(&error);
        }
    }

    /// Handles the refusal of a thread. Other threads of the pool go on with the queue; without
    /// any, the queued tasks fail here.
    #[cold]
    fn handle_refusal(&self, error: &std::io::Error) {
        let mut state = self.lock();
        state.threads -= 1;
        if state.threads > 0 {
            return;
        }
        let refused = std::mem::take(&mut state.jobs);
        drop(state);
        for job in refused.iter().filter(|job| job.slot().claim()) {
            let reason = limits::explain_refused_task("thread", error);
            // SAFETY: claimed.
            unsafe { job.refuse(Cause::NotSpawned { reason }) };
        }
    }

    /// Runs jobs until the queue is empty and closed.
    fn work(&self) {
        WORKS_FOR.set(self);
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // SAFETY: a job is run once, by the thread that took it out of the queue.
                unsafe { job::run_on_this_thread(&*job) };
                drop(job);
                state = self.lock();
            } else if state.closed {
                break;
            } else {
                state.idle += 1;
                state = self.job.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
        state.threads -= 1;
        let watcher = if state.threads == 0 { state.watcher.take() } else { None };
        drop(state);
        if let Some(watcher) = watcher {
            park::wake(watcher);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("Shared")
            .field("size", &self.size)
            .field("threads", &state.threads)
            .field("queued", &state.jobs.len())
            .finish_non_exhaustive()
    }
}

/// Returns the pool that [`Kind::Thread`] runs on, with one thread per core.
///
/// ```
/// let task = trine::thread::pool().spawn(|| 6 * 7);
/// assert_eq!(task.join()?, 42);
/// # Ok::<(), trine::TaskError>(())
/// ```
pub fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool::new(thread::available_parallelism().map_or(1, NonZeroUsize::get)))
}
