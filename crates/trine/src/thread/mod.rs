//! Threads: kernel tasks that share the memory of the program.
//!
//! [`spawn`] starts one thread for one task, as std does; a [`Pool`] keeps threads and gives them
//! tasks. Either way the handle is a [`Task`], and a panic comes back from its `join` as a
//! [`TaskError`](crate::TaskError) with message, place and backtrace.

use std::panic::Location;
use std::sync::Arc;

use crate::sys::limits;
use crate::task::job::{self, Job, Run};
use crate::task::{Cause, Kind, Task, park};

mod pool;

pub use pool::{Pool, pool};

/// Runs `f` on a thread of its own.
///
/// `join` returns as soon as the function has, and the local coroutines that it has left unfinished
/// have ended; see [`spawn_local`](crate::coroutine::spawn_local()). The thread itself (destructors of its thread-locals)
/// may end a moment later. If the system refuses a thread, `join` returns the error; see
/// [`Builder::spawn`].
///
/// ```
/// let task = trine::thread::spawn(|| (1..=10).product::<u64>());
/// assert_eq!(task.join()?, 3_628_800);
/// # Ok::<(), trine::TaskError>(())
/// ```
#[track_caller]
pub fn spawn<F, T>(f: F) -> Task<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f)
}

/// Settings of one thread.
///
/// ```
/// use trine::thread::Builder;
///
/// let task = Builder::new().name("crunch").stack_size(4 << 20).spawn(|| 6 * 7);
/// assert_eq!(task.name().as_deref(), Some("crunch"));
/// assert_eq!(task.join()?, 42);
/// # Ok::<(), trine::TaskError>(())
/// ```
#[derive(Debug, Default, Clone)]
#[must_use = "a builder does nothing until spawn"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// Makes the settings of [`spawn`].
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the task and its thread. The kernel shows the first 15 bytes.
    ///
    /// # Panics
    ///
    /// At [`spawn`](Builder::spawn), if the name holds a NUL byte.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Sets the size of the thread's stack, in bytes; rounded up to whole pages and to the system's
    /// minimum. Default: std's, 2 MiB or `RUST_MIN_STACK`. A size beyond the address space is an
    /// error at `join`; see [`spawn`](Builder::spawn).
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Runs `f` on a thread with these settings.
    ///
    /// # Errors
    ///
    /// None here. If the system refuses the thread, the task ends with [`Cause::NotSpawned`], which
    /// names the limit, at `join`.
    ///
    /// # Panics
    ///
    /// If the name holds a NUL byte.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_at(Location::caller(), f)
    }

    pub(crate) fn spawn_at<F, T>(self, location: &'static Location<'static>, f: F) -> Task<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let name: Option<Arc<str>> = self.name.as_deref().map(Arc::from);
        let job = Arc::new(Job::new(Kind::Thread, name, location, move || park::with_end(f)));
        let mut builder = std::thread::Builder::new();
        if let Some(name) = self.name {
            builder = builder.name(name);
        }
        if let Some(bytes) = self.stack_size {
            // A larger size would wrap around when std rounds it up; any system refuses this one.
            builder = builder.stack_size(bytes.min(1 << (usize::BITS - 2)));
        }
        let run = Arc::clone(&job);
        // SAFETY: the new thread is the only one to run the job, and runs it once.
        let started = builder.spawn(move || unsafe { job::run_on_this_thread(&*run) });
        if let Err(error) = started
            && job.slot().claim()
        {
            let reason = match self.stack_size {
                Some(bytes) => limits::explain_refused_thread(bytes, &error),
                None => limits::explain_refused_task("thread", &error),
            };
            // SAFETY: claimed.
            unsafe { job.refuse(Cause::NotSpawned { reason }) };
        }
        // SAFETY: the one handle of this job.
        unsafe { Task::from_backend(job) }
    }
}
