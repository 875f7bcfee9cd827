//! Futures that wait for time to pass.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::coroutine::future::timer::Timer;
use crate::task::{Interrupt, Interrupted};

/// Returns a future that is ready after `duration`, counted from this call.
///
/// It is for async code; plain code calls [`time::sleep`](crate::time::sleep). It works in any
/// executor and on any thread: a carrier keeps the time and wakes the task. A duration beyond the
/// clock's range never ends. Dropping the future cancels it.
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

/// Returns a future that is ready at `deadline`, or at once if that has passed; see [`sleep`].
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

/// The future of [`sleep`] and [`sleep_until`].
///
/// ```
/// use std::time::Duration;
/// use trine::future::{self, Sleep};
///
/// let pause: Sleep = future::sleep(Duration::from_millis(1));
/// future::block_on(pause);
/// ```
///
/// # Panics
///
/// `poll` does, if the process has no carrier yet and no thread can be started as one.
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

/// Awaits `future` for at most `duration`, counted from this call; after that, drops it.
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
/// [`Interrupted`] if the time is up and the future is not ready. The future is polled before the
/// clock is read.
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
