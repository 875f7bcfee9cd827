//! Waiting for time to pass.

use std::time::{Duration, Instant};

use crate::task::park;

/// Waits for at least `duration`.
///
/// Parks the coroutine it is called in, so that others run meanwhile, or the thread where there is
/// none. A duration beyond what the clock can count waits for good.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let begin = Instant::now();
/// trine::time::sleep(Duration::from_millis(2));
/// assert!(begin.elapsed() >= Duration::from_millis(2));
/// ```
pub fn sleep(duration: Duration) {
    match Instant::now().checked_add(duration) {
        Some(deadline) => sleep_until(deadline),
        None => loop {
            park::park(None);
        },
    }
}

/// Waits until `deadline`; returns at once if it has passed.
pub fn sleep_until(deadline: Instant) {
    while Instant::now() < deadline {
        park::park(Some(deadline));
    }
}
