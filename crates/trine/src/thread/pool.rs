//! A pool of threads: one queue, in the order of arrival.

use std::cell::Cell;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::Location;
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::thread;

use crate::sys::limits;
use crate::task::job::{self, Job, Run};
use crate::task::{Cause, Kind, Task, park, wait};

/// A fixed number of threads that run tasks as they come.
///
/// Threads start with the first tasks, not with the pool. Dropping the pool lets what was spawned
/// finish in the background; [`shutdown`](Pool::shutdown) waits for it.
///
/// A task that waits for another one of the same pool holds its thread meanwhile: once all threads
/// wait so, the pool stands still.
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
    /// A job came, or the pool was closed.
    job: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Arc<dyn Run>>,
    threads: usize,
    idle: usize,
    /// No more jobs will come: threads end when the queue is empty.
    closed: bool,
    /// Who waits for the last thread to end.
    watcher: Option<Waker>,
}

thread_local! {
    /// The pool that the calling thread belongs to; only to be compared.
    static WORKS_FOR: Cell<*const Shared> = const { Cell::new(ptr::null()) };
}

impl Pool {
    /// A pool of at most `threads` threads.
    ///
    /// # Panics
    ///
    /// If `threads` is 0.
    pub fn new(threads: usize) -> Pool {
        assert!(threads > 0, "a pool without threads would never run a task");
        let state = Mutex::new(State::default());
        Pool { shared: Arc::new(Shared { size: threads, state, job: Condvar::new() }) }
    }

    /// How many threads the pool may have.
    pub fn size(&self) -> usize {
        self.shared.size
    }

    /// Runs `f` on a thread of the pool, after what was spawned before.
    ///
    /// # Errors
    ///
    /// None here: if the system refuses the pool its first thread, the task ends with
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
        let job = Arc::new(Job::new(Kind::Thread, None, location, f));
        self.shared.submit(Arc::clone(&job) as Arc<dyn Run>);
        // SAFETY: the one handle of this job.
        unsafe { Task::from_backend(job) }
    }

    /// Lets what was spawned finish, ends the threads and waits for that.
    ///
    /// Parks the coroutine it is called in, or the thread where there is none. A task that is cancelled
    /// meanwhile is unwound, and the pool finishes by itself.
    ///
    /// # Panics
    ///
    /// If a task of the pool itself calls it, which would wait for its own end.
    #[track_caller]
    pub fn shutdown(self) {
        assert!(
            WORKS_FOR.get() != Arc::as_ptr(&self.shared),
            "a task of a pool waits for the pool's end, and so for its own: drop the pool there, \
             which does not wait, or call `shutdown` outside"
        );
        self.shared.close();
        let waker = park::waker();
        loop {
            let mut state = self.shared.lock();
            if state.threads == 0 {
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
    /// No more jobs will come.
    fn close(&self) {
        self.lock().closed = true;
        self.job.notify_all();
    }

    /// No code of a task runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(self: &Arc<Shared>, job: Arc<dyn Run>) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() {
            drop(state);
            return self.job.notify_one();
        }
        if state.threads == self.size {
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(self);
        let started = thread::Builder::new().name("trine-pool".into()).spawn(move || shared.work());
        if let Err(error) = started {
            self.without_a_thread(&error);
        }
    }

    /// A thread was refused. Others of the pool go on with the queue; where there is none, the
    /// queue ends here.
    #[cold]
    fn without_a_thread(&self, error: &std::io::Error) {
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

    fn work(&self) {
        WORKS_FOR.set(self);
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                // SAFETY: a job taken out of the queue is run by whoever took it, once.
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
            watcher.wake();
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

/// The pool that [`Kind::Thread`] runs on: one thread per core.
pub fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(|| Pool::new(thread::available_parallelism().map_or(1, NonZeroUsize::get)))
}
