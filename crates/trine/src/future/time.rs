//! Futures that wait for time to pass.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::coroutine::future::timer::Timer;
use crate::task::{Interrupt, Interrupted};

/// A future that is ready after `duration`, counted from this call.
///
/// For async code: plain code calls [`time::sleep`](crate::time::sleep). It works in any executor and
/// on any thread: a carrier keeps the time, and wakes. A duration beyond what the clock can count
/// is never over. Dropped, it is cancelled.
///
/// ```
/// use std::time::Duration;
/// use trine::future;
///
/// let sleepers: Vec<_> = (0..1000)
///     .map(|n| {
///         future::spawn(async move {
///             future::sleep(Duration::from_millis(5)).await;
///             n
///         })
///     })
///     .collect();
/// let sum: u32 = sleepers.into_iter().map(|task| task.join().unwrap()).sum();
/// assert_eq!(sum, 499_500);
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { timer: Timer::new(Instant::now().checked_add(duration)) }
}

/// A future that is ready at `deadline`, or at once if that has passed. As [`sleep`].
///
/// ```
/// use std::time::{Duration, Instant};
/// use trine::future;
///
/// let deadline = Instant::now() + Duration::from_millis(2);
/// future::block_on(future::sleep_until(deadline));
/// assert!(Instant::now() >= deadline);
/// ```
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { timer: Timer::new(Some(deadline)) }
}

/// What [`sleep`] and [`sleep_until`] give.
///
/// # Panics
///
/// `poll` does, if the process has no carrier yet and no thread can be started to be one.
#[must_use = "a future does nothing until it is awaited"]
pub struct Sleep {
    timer: Timer,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.timer.poll(context)
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}

/// Awaits `future` for at most `duration`, counted from this call; then it is dropped.
///
/// ```
/// use std::time::Duration;
/// use trine::future;
///
/// let never = future::timeout(Duration::from_millis(2), std::future::pending::<()>());
/// assert!(future::block_on(never).unwrap_err().is_timeout());
/// let soon = future::timeout(Duration::from_secs(9), async { 42 });
/// assert_eq!(future::block_on(soon), Ok(42));
/// ```
///
/// # Errors
///
/// [`Interrupted`] when the time is up and the future, polled before the clock is looked at, is not
/// ready.
pub fn timeout<F: IntoFuture>(
    duration: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Interrupted>> {
    let mut sleep = sleep(duration);
    async move {
        let mut future = pin!(future.into_future());
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            sleep.timer.poll(context).map(|()| Err(Interrupted(Interrupt::TimedOut)))
        })
        .await
    }
}
