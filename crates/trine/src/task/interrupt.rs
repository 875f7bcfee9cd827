//! Why a wait ends before what it waits for: the task was cancelled, or its time is up.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::error::{Cause, TaskError};
use super::registry;
use super::slot::Slot;

/// A wait was ended from outside: its task was cancelled, or the time of a
/// [`timeout`](crate::time::timeout) around it is up.
///
/// Both are levels: once here, every later wait of the task ends in the same way, until the task (or
/// the function given to `timeout`) has ended.
///
/// As an [`io::Error`] its kind is [`TimedOut`](io::ErrorKind::TimedOut) or
/// [`Other`](io::ErrorKind::Other), never [`Interrupted`](io::ErrorKind::Interrupted), which std's
/// loops swallow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted(pub(crate) Interrupt);

/// Which of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The task was cancelled, for a reason if one was given.
    Cancelled(Option<Arc<str>>),
    /// A deadline around the wait has passed.
    TimedOut,
}

impl Interrupted {
    /// Whether `error` is one of these: a wait was ended from outside.
    pub(crate) fn is_in(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Interrupted>())
    }

    /// Whether the task was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Interrupt::Cancelled(_))
    }

    /// Whether a deadline has passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Interrupt::TimedOut)
    }

    /// The reason given with the cancellation.
    pub fn reason(&self) -> Option<&str> {
        match &self.0 {
            Interrupt::Cancelled(reason) => reason.as_deref(),
            Interrupt::TimedOut => None,
        }
    }
}

impl Interrupted {
    /// Why those are cancelled who worked for the task that this has ended.
    pub(crate) fn passed_on(&self) -> String {
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

/// The error names the task that was interrupted, which is the one that calls this.
impl From<Interrupted> for TaskError {
    fn from(interrupted: Interrupted) -> TaskError {
        let task = registry::current().and_then(Slot::info);
        TaskError::new(interrupted.into(), task)
    }
}
