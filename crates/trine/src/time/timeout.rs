//! A limit for the time of a function.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use crate::task::{self, Cause, TaskError, cancel};

/// Runs `f`, and ends its waits when `duration` has passed.
///
/// A wait that cannot fail, such as [`sleep`](super::sleep()), then unwinds to here, running the
/// destructors on its way. A wait that returns a `Result` returns an error that tells so, and `f`
/// decides how to go on: if `f` returns, so does `timeout`, with its value. Code that computes is
/// not stopped; it calls [`cancelled`](crate::cancelled) from time to time.
///
/// A lock that `f` holds itself and takes once more is such a wait: it times out, where it panics
/// outside of any limit.
///
/// Timeouts nest; the earliest counts. They work in tasks of every kind and on other threads. A
/// duration beyond the clock's range is no limit.
///
/// ```
/// use std::time::Duration;
/// use trine::time;
///
/// let quick = time::timeout(Duration::from_secs(60), || 7);
/// assert_eq!(quick, Ok(7));
/// let slow = time::timeout(Duration::from_millis(1), || time::sleep(Duration::MAX));
/// assert!(slow.is_err());
/// ```
///
/// # Errors
///
/// [`TimedOut`] if a wait of `f` was ended, and thereby `f`.
///
/// # Panics
///
/// If `f` does.
pub fn timeout<T>(duration: Duration, f: impl FnOnce() -> T) -> Result<T, TimedOut> {
    match Instant::now().checked_add(duration) {
        Some(deadline) => cancel::within(deadline, f).ok_or(TimedOut { after: duration }),
        None => Ok(f()),
    }
}

/// The error of a [`timeout`] whose time was up.
///
/// ```
/// use std::time::Duration;
/// use trine::time;
///
/// let limit = Duration::from_millis(1);
/// let late = time::timeout(limit, || time::sleep(Duration::MAX)).unwrap_err();
/// assert_eq!(late.after(), limit);
/// assert_eq!(late.to_string(), "timed out after 1ms");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    after: Duration,
}

impl TimedOut {
    /// Returns the limit that has passed.
    pub fn after(&self) -> Duration {
        self.after
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "timed out after {:?}", self.after)
    }
}

impl Error for TimedOut {}

impl From<TimedOut> for io::Error {
    fn from(timed_out: TimedOut) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, timed_out)
    }
}

/// The error names the task that had too little time, which is the caller.
///
/// ```
/// use std::time::Duration;
/// use trine::{TaskError, process, time};
///
/// fn answer() -> Result<u32, TaskError> {
///     time::timeout(Duration::from_secs(60), || process::spawn(6, |n: u32| n * 7).join())?
/// }
/// assert_eq!(answer()?, 42);
/// # Ok::<(), trine::TaskError>(())
/// ```
impl From<TimedOut> for TaskError {
    fn from(_: TimedOut) -> TaskError {
        TaskError::new(Cause::TimedOut, task::current())
    }
}
