//! Futures: tasks without a stack, plain code that waits for a future, and tasks as futures.
//!
//! [`spawn`] runs a future as a task of its own, the second form of a coroutine: on the same
//! carriers, with the same handle, in a few hundred bytes. [`block_on`] lets plain code wait for
//! any future, so plain code can call async libraries; it parks the calling coroutine, or the
//! thread outside any coroutine. And a [`Task`] of any kind is a future of its outcome, for any
//! executor.
//!
//! # What a future must not do
//!
//! A future must not block its carrier, because it has no stack that could be set aside. That
//! includes the calls of trine that park: in a future, `Task::join`, `time::sleep` and `block_on`
//! wait as a thread and hold up every task of the carrier. If they wait for one of these tasks,
//! they wait forever. Await instead: a [`Task`] is a future, [`sleep`] another; or run the code in
//! a [coroutine].

// | file | contents |
// |---|---|
// | `mod.rs` | `spawn`, `Builder`, `block_on` |
// | `time.rs` | `sleep`, `sleep_until`, `timeout` |

use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::coroutine;
use crate::task::{Task, park, wait};

mod time;

pub use time::{Sleep, sleep, sleep_until, timeout};

/// Runs `future` as a task: a coroutine without a stack.
///
/// The task is polled on one carrier and listed as a [coroutine](crate::Kind::Coroutine). Its
/// handle can be joined or awaited; dropping it detaches the task. A carrier drops a detached task
/// whose wakers are all dropped, because it cannot be woken any more. A panic ends the task, and
/// nothing else.
///
/// Crates that need no particular runtime work in it; crates that need tokio's do not.
/// `examples/basics/async_crates.rs` shows some.
///
/// ```
/// use trine::{coroutine, future};
///
/// let word = future::spawn(async {
///     let parts = [coroutine::spawn(|| "stack"), coroutine::spawn(|| "less")];
///     let mut word = String::new();
///     for part in parts {
///         word += part.await?;
///     }
///     Ok::<_, trine::TaskError>(word)
/// });
/// assert_eq!(word.join()??, "stackless");
/// # Ok::<(), trine::TaskError>(())
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    Builder::new().spawn(future)
}

/// Settings of one future task.
///
/// ```
/// let task = trine::future::Builder::new().name("answer").spawn(async { 42 });
/// assert_eq!(task.join()?, 42);
/// # Ok::<(), trine::TaskError>(())
/// ```
#[derive(Debug, Default, Clone)]
#[must_use = "a builder does nothing until spawn"]
pub struct Builder {
    name: Option<Arc<str>>,
}

impl Builder {
    /// Makes the settings of [`spawn`].
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the task.
    ///
    /// ```
    /// let task = trine::future::Builder::new().name("answer").spawn(async { 42 });
    /// assert_eq!(task.name().as_deref(), Some("answer"));
    /// # task.join().unwrap();
    /// ```
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Runs `future` as a task with these settings.
    ///
    /// # Errors
    ///
    /// None here. If there is no thread to carry it, the task ends with
    /// [`Cause::NotSpawned`](crate::Cause::NotSpawned), which names the limit, at `join`.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        coroutine::spawn_future(self.name, Location::caller(), future)
    }
}

/// Drives `future` to its end in the caller, and returns its output.
///
/// ```
/// use trine::{coroutine, future, process};
///
/// async fn both() -> Result<u32, trine::TaskError> {
///     let (a, b) = (coroutine::spawn(|| 40), process::spawn(1, |n: u32| n + 1));
///     Ok(a.await? + b.await?)
/// }
///
/// assert_eq!(future::block_on(both())?, 42);
/// // In a coroutine it parks the coroutine, not its thread.
/// assert_eq!(coroutine::spawn(|| future::block_on(both())).join()??, 42);
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// Futures that need a particular runtime (tokio's sockets and timers) need it here too.
///
/// # Panics
///
/// If the future does.
pub fn block_on<F: IntoFuture>(future: F) -> F::Output {
    let mut future = pin!(future.into_future());
    let waker = park::waker();
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => wait::or_unwind(None),
        }
    }
}
