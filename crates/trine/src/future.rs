//! Futures: plain code that waits for one, and tasks that are one.
//!
//! A [`Task`](crate::Task) of any kind is a future of its outcome, for any executor. The other way
//! round, [`block_on`] lets plain code wait for any future: it parks the coroutine it is called in,
//! or the thread where there is none, so that async libraries can be called from plain code.

use std::pin::pin;
use std::task::{Context, Poll};

use crate::task::park;

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
            Poll::Pending => park::wait_or_unwind(None),
        }
    }
}
