//! Futures: tasks without a stack, plain code that waits for a future, and tasks that are one.
//!
//! [`spawn`] runs a future as a task of its own, the second form of a coroutine: on the same
//! carriers, with the same handle, in a few hundred bytes. [`block_on`] lets plain code wait for
//! any future: it parks the coroutine it is called in, or the thread where there is none, so that async
//! libraries can be called from plain code. And a [`Task`] of any kind is a future of its outcome,
//! for any executor.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod.rs` | [`spawn`], [`Builder`], [`block_on`] |
//! | `time.rs` | [`sleep`], [`sleep_until`], [`timeout`] |
//!
//! # What a future must not do
//!
//! Block its carrier, which has no stack to put aside for it. That includes the calls of trine which
//! park: `Task::join`, `time::sleep`, `block_on` work in a future, but wait as a thread, and hold up
//! every task of the carrier; and if what they wait for is one of these, for good. Await instead: a
//! [`Task`] is a future, [`sleep`] another; or do it in a [coroutine].

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
/// It is polled on a carrier, always the same one, and listed as a
/// [coroutine](crate::Kind::Coroutine). Its handle is that of every task: to be joined or awaited, and
/// dropping it detaches the task. A detached task that nobody can wake any more, all its wakers being
/// gone, is dropped by its carrier. A panic ends the task, and nothing else.
///
/// Crates that need no particular runtime work in it, those that need tokio's do not:
/// `examples/async_crates.rs` shows some.
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
#[derive(Debug, Default, Clone)]
#[must_use = "a builder does nothing until spawn"]
pub struct Builder {
    name: Option<Arc<str>>,
}

impl Builder {
    /// The settings of [`spawn`].
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
    /// None here: if there is no thread to carry it, the task ends with
    /// [`Cause::NotSpawned`](crate::Cause::NotSpawned), which names the limit, at `join`.
    #[track_caller]
    pub fn spawn<F>(self, future: F) -> Task<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        coroutine::spawn_future(self.name, Location::caller(), future)
    }
}

/// Drives `future` to its end, here, and returns its output.
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
/// Futures that need a certain runtime (tokio's sockets and timers) need it here too.
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
