//! The failures of children, and the error of a supervisor.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::task::{Cause, TaskError, failure};

/// The reason for which a child was restarted, or was not to end.
///
/// ```
/// use trine::supervisor::{Child, Failure};
///
/// let child = Child::coroutine(|_| panic!("no luck"));
/// let error = trine::supervisor().intensity(0, std::time::Duration::MAX).child("unlucky", child);
/// let error = error.run().unwrap_err();
/// let (name, Failure::Ended(last)) = &error.failures()[0] else { panic!("{error}") };
/// assert_eq!(&**name, "unlucky");
/// assert!(last.is_panic());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Failure {
    /// Its task ended without a value: it panicked, or its process died.
    Ended(TaskError),
    /// Its function returned an error; the error's text.
    Returned(String),
    /// It reported nothing for its [`health`](super::Child::health) interval, and was ended.
    Silent(Duration),
    /// Its function returned, though the child is [`Permanent`](super::Restart::Permanent).
    Finished,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Ended(error) => error.fmt(f),
            Failure::Returned(text) => write!(f, "returned an error: {text}"),
            Failure::Silent(interval) => write!(f, "reported nothing for {interval:?}"),
            Failure::Finished => f.write_str("returned, though it is permanent"),
        }
    }
}

/// Drops the payload of a panic, whose destructor is code of the program: what is left can be
/// dropped under a lock.
pub(super) fn without_payload(error: TaskError) -> TaskError {
    if let Ok(payload) = error.clone().into_panic()
        && let Err(again) = failure::catch(|| None, || drop(payload))
    {
        // The hook has reported this panic too.
        drop(again.into_panic().map(std::mem::forget));
    }
    error
}

/// The error of a [`Supervisor`](super::Supervisor) that has ended its children before they were
/// done.
///
/// ```
/// use std::time::Duration;
/// use trine::supervisor::Child;
///
/// let supervisor = trine::supervisor()
///     .intensity(2, Duration::MAX)
///     .child("unlucky", Child::coroutine(|_| Err::<(), _>("no luck")));
/// let error = supervisor.run().unwrap_err();
/// assert!(error.gave_up());
/// assert_eq!(error.failures().len(), 3);
/// println!("{error}");
/// ```
#[derive(Clone, Debug)]
pub struct SupervisorError {
    why: Why,
    failures: Failures,
}

#[derive(Clone, Debug)]
enum Why {
    /// The children were restarted too often.
    GaveUp(Intensity),
    /// The task of the supervisor was interrupted.
    Task(TaskError),
}

/// Failures with the names of their children, the oldest first.
pub(super) type Failures = Vec<(Arc<str>, Failure)>;

/// A limit of restarts: the number, and the time in which it counts.
pub(super) type Intensity = (usize, Duration);

impl SupervisorError {
    pub(super) fn too_often(limit: Intensity, failures: Failures) -> Self {
        SupervisorError { why: Why::GaveUp(limit), failures }
    }

    /// Returns the last failures of children, the oldest first, with the children's names. At most
    /// as many as the [`intensity`](super::Supervisor::intensity) allows restarts, and one more;
    /// and at most 64.
    pub fn failures(&self) -> &[(Arc<str>, Failure)] {
        &self.failures
    }

    /// Returns true if the children were restarted more often than the
    /// [`intensity`](super::Supervisor::intensity) allows.
    pub fn gave_up(&self) -> bool {
        matches!(self.why, Why::GaveUp(_))
    }

    /// Returns true if the supervisor's task, or the task that waits for it, was cancelled.
    ///
    /// ```
    /// use trine::{coroutine, supervisor::Child, time};
    ///
    /// let task = coroutine::spawn(|| {
    ///     let child = Child::coroutine(|_| time::sleep(std::time::Duration::MAX));
    ///     trine::supervisor().child("sleeper", child).run()
    /// });
    /// while task.state() != trine::State::Waiting {
    ///     std::thread::yield_now();
    /// }
    /// task.cancel();
    /// assert!(task.join()?.unwrap_err().is_cancelled());
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn is_cancelled(&self) -> bool {
        matches!(&self.why, Why::Task(error) if error.is_cancelled())
    }

    /// Returns true if the time of a [`timeout`](crate::time::timeout) around the supervisor was
    /// up.
    pub fn is_timeout(&self) -> bool {
        matches!(&self.why, Why::Task(error) if matches!(error.cause(), Cause::TimedOut))
    }
}

/// The supervisor's own task was interrupted, or could not be started.
impl From<TaskError> for SupervisorError {
    fn from(error: TaskError) -> SupervisorError {
        SupervisorError { why: Why::Task(error), failures: Vec::new() }
    }
}

impl fmt::Display for SupervisorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::GaveUp((most, within)) => {
                write!(f, "the children failed more than {most} times within {within:?}")?;
            }
            Why::Task(error) => write!(f, "the supervisor was ended: {error}")?,
        }
        for (name, failure) in &self.failures {
            write!(f, "; `{name}`: {failure}")?;
        }
        Ok(())
    }
}

impl Error for SupervisorError {}
