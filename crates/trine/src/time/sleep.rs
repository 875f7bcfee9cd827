//! Waiting for time to pass.

use std::time::{Duration, Instant};

use crate::task::wait;

/// Waits for at least `duration`.
///
/// Parks the calling coroutine, so that others run meanwhile, or the thread outside any coroutine.
/// Zero lets the others run once. A duration beyond the clock's range waits forever. Unwinds a task
/// that is [cancelled](crate::Task::cancel).
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let begin = Instant::now();
/// trine::time::sleep(Duration::from_millis(2));
/// assert!(begin.elapsed() >= Duration::from_millis(2));
/// ```
pub fn sleep(duration: Duration) {
    wait_until(Instant::now().checked_add(duration));
}

/// Waits until `deadline`. If it has passed, lets the other coroutines run once.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let deadline = Instant::now() + Duration::from_millis(2);
/// trine::time::sleep_until(deadline);
/// assert!(Instant::now() >= deadline);
/// ```
pub fn sleep_until(deadline: Instant) {
    wait_until(Some(deadline));
}

/// Waits until `deadline`, at least for a turn; `None` is never.
pub(super) fn wait_until(deadline: Option<Instant>) {
    loop {
        wait::or_unwind(deadline);
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return;
        }
    }
}
