//! The settings of one coroutine, and the queues that every new task of the carriers goes to.

use std::num::NonZeroUsize;
use std::panic::Location;
use std::sync::Arc;

use super::carrier::{self, run};
use super::fiber::Fiber;
use super::future::FutureTask;
use super::local;
use super::scheduler::Unstarted;
use crate::config;
use crate::task::job::Job;
use crate::task::{Kind, Task};

/// Settings of one coroutine.
///
/// ```
/// let builder = trine::coroutine::Builder::new().name("parser").stack_size(1 << 20);
/// let task = builder.spawn(|| "a megabyte of stack");
/// assert_eq!(task.name().as_deref(), Some("parser"));
/// assert_eq!(task.join()?, "a megabyte of stack");
/// # Ok::<(), trine::TaskError>(())
/// ```
#[derive(Debug, Default, Clone)]
#[must_use = "a builder does nothing until spawn"]
pub struct Builder {
    name: Option<Arc<str>>,
    stack_size: Option<NonZeroUsize>,
}

/// The copies of a function and of its value that have room on a stack. Each call that passes a
/// value on may keep one in a build that is not optimised: some 14 until the function has it, and
/// some 25 in a `send`.
const COPIES: usize = 48;

impl Builder {
    /// Returns the settings of [`spawn`](crate::coroutine::spawn()).
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the task.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Sets the size of the stack in bytes, without the guard below it. It is rounded up to whole
    /// pages and to at least 16 KiB. Default: [`Config::stack_size`](crate::Config::stack_size).
    ///
    /// A size that differs from the default costs a mapping of its own. So does a function with
    /// large captures, or a large result: its stack gets as much more as they need. Running off the
    /// end of the stack prints the coroutine's name and aborts the program.
    ///
    /// # Panics
    ///
    /// If `bytes` is more than 1 TiB.
    #[track_caller]
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        config::refuse_absurd_stack(bytes);
        self.stack_size = NonZeroUsize::new(bytes.max(1));
        self
    }

    /// Runs `f` as a coroutine with these settings.
    ///
    /// # Errors
    ///
    /// None here. If there is no memory for a stack, or no thread to carry it, the task ends with
    /// [`Cause::NotSpawned`](crate::Cause::NotSpawned), which names the limit, at `join`.
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
        let (fiber, task) = self.make(location, f);
        queue(Unstarted::Coroutine(fiber));
        task
    }

    /// Enlarges the stack if a function or a value of these types would take up much of it.
    pub(crate) fn with_room_for<F, T>(mut self) -> Builder {
        let copies = const { COPIES.saturating_mul(size_of::<F>() + size_of::<T>()) };
        // No stack is so small that less matters.
        if copies > const { config::MIN_STACK_SIZE / 2 } {
            let chosen = self.stack_size.map_or_else(|| config::settings().stack_size, Into::into);
            if copies > chosen / 2 {
                let enlarged = chosen.max(config::MIN_STACK_SIZE).saturating_add(copies);
                self.stack_size = NonZeroUsize::new(enlarged);
            }
        }
        self
    }

    /// Makes a fiber that is to be queued, and its handle.
    pub(super) fn make<F, T>(
        self,
        location: &'static Location<'static>,
        f: F,
    ) -> (Arc<Fiber>, Task<T>)
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let this = self.with_room_for::<F, T>();
        let job = Job::new(Kind::Coroutine, this.name, location, local::with_end(f));
        let fiber = Arc::new(Fiber::new(job, this.stack_size));
        let queued: Arc<Fiber> = fiber.clone();
        // SAFETY: the only handle of this fiber.
        (queued, unsafe { Task::from_backend(fiber) })
    }
}

/// Runs a future as a task of the carriers; see [`future::spawn`](crate::future::spawn).
pub(crate) fn spawn_future<F>(
    name: Option<Arc<str>>,
    location: &'static Location<'static>,
    future: F,
) -> Task<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let (handle, queued) = FutureTask::new(name, location, future);
    queue(Unstarted::Future(queued));
    // SAFETY: the only handle of this task.
    unsafe { Task::from_backend(handle) }
}

#[inline]
fn queue(task: Unstarted) {
    match carrier::current() {
        Some(carrier) => carrier.spawn(task),
        None => run::scheduler().inject(task),
    }
}
