//! The reason for which a wait ends early: the task was cancelled, or its time is up. `unwind.rs`
//! has its way up the stack.

pub(crate) mod unwind;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::error::{Cause, TaskError};
use super::registry;
use super::slot::Slot;

/// The error of a wait that was ended from outside: the task was cancelled, or the time of a
/// [`timeout`](crate::time::timeout) around the wait is up.
///
/// Both are levels: every later wait of the task ends in the same way, until the task (or the
/// function given to `timeout`) has ended.
///
/// The kind of the [`io::Error`] made from it is [`TimedOut`](io::ErrorKind::TimedOut) or
/// [`Other`](io::ErrorKind::Other), never [`Interrupted`](io::ErrorKind::Interrupted), which std's
/// loops swallow.
///
/// ```
/// use std::time::Duration;
/// use trine::{Interrupted, time};
///
/// fn search() -> Result<u32, Interrupted> {
///     loop {
///         trine::checkpoint()?; // … and a part of the work
///     }
/// }
///
/// let found = time::timeout(Duration::from_millis(1), search)?;
/// assert!(found.unwrap_err().is_timeout());
/// # Ok::<(), trine::time::TimedOut>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted(pub(crate) Interrupt);

/// The two reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The task was cancelled, with the reason that the canceller gave.
    Cancelled(Option<Arc<str>>),
    /// A deadline around the wait has passed.
    TimedOut,
}

impl Interrupted {
    /// Returns true if `error` wraps an `Interrupted`.
    pub(crate) fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Interrupted>())
    }

    /// Returns true if the task was cancelled.
    ///
    /// ```
    /// let task = trine::thread::spawn(|| loop {
    ///     if let Err(interrupted) = trine::checkpoint() {
    ///         break interrupted;
    ///     }
    /// });
    /// # while task.state() == trine::State::New {
    /// #     std::thread::yield_now();
    /// # }
    /// task.cancel();
    /// let interrupted = task.join()?;
    /// assert!(interrupted.is_cancelled() && !interrupted.is_timeout());
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Interrupt::Cancelled(_))
    }

    /// Returns true if a deadline has passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Interrupt::TimedOut)
    }

    /// Returns the reason given with the cancellation.
    ///
    /// ```
    /// let task = trine::thread::spawn(|| loop {
    ///     if let Err(interrupted) = trine::checkpoint() {
    ///         break interrupted;
    ///     }
    /// });
    /// # while task.state() == trine::State::New {
    /// #     std::thread::yield_now();
    /// # }
    /// task.cancel_because("too late");
    /// assert_eq!(task.join()?.reason(), Some("too late"));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn reason(&self) -> Option<&str> {
        match &self.0 {
            Interrupt::Cancelled(reason) => reason.as_deref(),
            Interrupt::TimedOut => None,
        }
    }
}

impl Interrupted {
    /// Returns the reason for which the helpers of the interrupted task are cancelled.
    pub(crate) fn as_reason(&self) -> String {
        match &self.0 {
            Interrupt::Cancelled(Some(reason)) => reason.to_string(),
            Interrupt::Cancelled(None) => "so was the task that waits for it".to_owned(),
            Interrupt::TimedOut => "the time of the task that waits for it is up".to_owned(),
        }
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Interrupt::Cancelled(Some(reason)) => write!(f, "cancelled: {reason}"),
            Interrupt::Cancelled(None) => f.write_str("cancelled"),
            Interrupt::TimedOut => f.write_str("timed out"),
        }
    }
}

impl Error for Interrupted {}

impl From<Interrupted> for io::Error {
    fn from(interrupted: Interrupted) -> io::Error {
        let kind = match interrupted.0 {
            Interrupt::Cancelled(_) => io::ErrorKind::Other,
            Interrupt::TimedOut => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, interrupted)
    }
}

impl From<Interrupted> for Cause {
    fn from(interrupted: Interrupted) -> Cause {
        match interrupted.0 {
            Interrupt::Cancelled(reason) => Cause::Cancelled { reason },
            Interrupt::TimedOut => Cause::TimedOut,
        }
    }
}

/// The error names the interrupted task, which is the caller.
impl From<Interrupted> for TaskError {
    fn from(interrupted: Interrupted) -> TaskError {
        let task = registry::current().and_then(Slot::info);
        TaskError::new(interrupted.into(), task)
    }
}
