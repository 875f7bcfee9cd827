//! The handle of a started supervisor.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::error::SupervisorError;
use super::info::ChildInfo;
use super::shared::Shared;
use crate::task::{Task, TaskError};

/// The handle of a supervisor that [`start`](super::Supervisor::start) has started.
///
/// Dropping it cancels the supervisor, which ends its children in the background.
///
/// ```
/// use std::time::Duration;
/// use trine::supervisor::{Child, ChildState, Context};
/// use trine::time;
///
/// let sleep = |_: &Context| time::sleep(Duration::MAX);
/// let supervisor = trine::supervisor()
///     .child("first", Child::coroutine(sleep))
///     .child("second", Child::thread(sleep))
///     .start();
/// while supervisor.children().iter().any(|child| child.state != ChildState::Running) {
///     std::thread::yield_now();
/// }
/// supervisor.stop()?;
/// # Ok::<(), trine::supervisor::SupervisorError>(())
/// ```
#[must_use = "dropping the handle cancels the supervisor"]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    /// None once it is joined.
    pub(super) task: Option<Task<Result<(), SupervisorError>>>,
}

impl Handle {
    /// Ends all children, the last one first, and waits until they have ended.
    ///
    /// A process that does not end is killed after its [`grace`](crate::process::Builder::grace).
    /// A coroutine or thread that does not end is waited for.
    ///
    /// # Errors
    ///
    /// See [`join`](Handle::join).
    pub fn stop(self) -> Result<(), SupervisorError> {
        self.shared.stop();
        self.join()
    }

    /// Waits until the supervisor has ended: because no child is to run any more, or with an error.
    ///
    /// ```
    /// use trine::supervisor::{Child, Restart};
    ///
    /// let child = Child::process((), |_, ()| ()).restart(Restart::Transient);
    /// trine::supervisor().child("once", child).start().join()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`run`](super::Supervisor::run). If the caller is cancelled, or its time is up,
    /// the supervisor is cancelled, and this waits until its children have ended.
    pub fn join(mut self) -> Result<(), SupervisorError> {
        let mut task = self.task.take().expect("joined once: `join` consumes the handle");
        let waited = task.wait();
        if let Err(interrupted) = &waited {
            task.cancel_because(interrupted.as_reason());
        }
        let ended = task.join_uninterrupted();
        if let Err(interrupted) = waited {
            return Err(TaskError::from(interrupted).into());
        }
        ended?
    }

    /// Describes the children, in the order of their start.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::supervisor::Child;
    ///
    /// let child = Child::process((), |_, ()| trine::time::sleep(Duration::MAX));
    /// let supervisor = trine::supervisor().child("sleeper", child).start();
    /// let pid = loop {
    ///     if let Some(pid) = supervisor.children()[0].pid {
    ///         break pid;
    ///     }
    ///     std::thread::yield_now();
    /// };
    /// assert_ne!(pid, std::process::id());
    /// supervisor.stop()?;
    /// # Ok::<(), trine::supervisor::SupervisorError>(())
    /// ```
    pub fn children(&self) -> Vec<ChildInfo> {
        self.shared.children()
    }

    /// Has the named child end and start again, without counting that as a failure. One that is
    /// done is started again, too; one that waits for its restart starts at once. Does not wait.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::supervisor::Child;
    ///
    /// let child = Child::coroutine(|_| trine::time::sleep(Duration::MAX));
    /// let supervisor = trine::supervisor().child("sleeper", child).start();
    /// supervisor.restart("sleeper")?;
    /// assert!(supervisor.restart("keeper").is_err());
    /// supervisor.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no child of that name, or the supervisor ends.
    pub fn restart(&self, name: &str) -> Result<(), NotRestarted> {
        let is_over = self.task.as_ref().is_none_or(Task::has_ended);
        let found = self.shared.restart(name, Instant::now());
        match found {
            Some(true) if !is_over => Ok(()),
            Some(_) => Err(NotRestarted { name: name.into(), exists: true }),
            None => Err(NotRestarted { name: name.into(), exists: false }),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.cancel_because("the handle of its supervisor was dropped");
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("children", &self.children()).finish_non_exhaustive()
    }
}

/// The error of [`Handle::restart`].
///
/// ```
/// let supervisor = trine::supervisor().start();
/// let error = supervisor.restart("keeper").unwrap_err();
/// assert_eq!(error.to_string(), "the supervisor has no child `keeper`");
/// supervisor.stop()?;
/// # Ok::<(), trine::supervisor::SupervisorError>(())
/// ```
#[derive(Clone, Debug)]
pub struct NotRestarted {
    name: String,
    exists: bool,
}

impl fmt::Display for NotRestarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.exists {
            true => write!(f, "the supervisor of `{name}` ends, and starts no child any more"),
            false => write!(f, "the supervisor has no child `{name}`"),
        }
    }
}

impl Error for NotRestarted {}
