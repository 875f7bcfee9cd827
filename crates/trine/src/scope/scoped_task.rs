//! The handle of a task of a scope.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::work::Packet;
use crate::task::{Canceller, Kind, Task, TaskError, TaskId, TaskInfo};

/// The handle of a task of a scope.
///
/// Dropping it changes nothing: the scope waits for the task and counts its failure.
///
/// ```
/// let word = String::from("scope");
/// let length = trine::scope(|s| {
///     let task = s.coroutine(|| word.len());
///     task.join()
/// })??;
/// assert_eq!(length, 5);
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct ScopedTask<'scope, T> {
    pub(super) task: Task<()>,
    pub(super) packet: Arc<Packet<T>>,
    pub(super) info: TaskInfo,
    pub(super) scope: PhantomData<&'scope mut &'scope ()>,
}

impl<T> ScopedTask<'_, T> {
    /// Waits until the task has ended, and takes its value.
    ///
    /// ```
    /// let sum = trine::scope(|s| {
    ///     let (a, b) = (s.thread(|| 40), s.process(1, |n: u32| n + 1));
    ///     Ok::<_, trine::TaskError>(a.join()? + b.join()?)
    /// })??;
    /// assert_eq!(sum, 42);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Task::join`]. Under [`scope`](super::scope()) a failure ends the scope, even if it was
    /// seen here.
    ///
    /// # Panics
    ///
    /// If a task joins itself, which would wait forever.
    #[track_caller]
    pub fn join(self) -> Result<T, TaskError> {
        let ended = self.task.join();
        self.packet.result(ended)
    }

    /// Waits for at most `timeout` until the task has ended.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::time;
    ///
    /// trine::scope(|s| {
    ///     let task = s.coroutine(|| time::sleep(Duration::MAX));
    ///     let task = task.join_timeout(Duration::from_millis(1)).unwrap_err(); // still at work
    ///     task.cancel();
    /// })?;
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`Task::join_timeout`].
    ///
    /// # Panics
    ///
    /// See [`Task::join_timeout`].
    #[track_caller]
    pub fn join_timeout(self, timeout: Duration) -> Result<Result<T, TaskError>, Self> {
        let ScopedTask { task, packet, info, scope } = self;
        match task.join_timeout(timeout) {
            Ok(ended) => Ok(packet.result(ended)),
            Err(task) => Err(ScopedTask { task, packet, info, scope }),
        }
    }

    /// Requests the task to end; see [`Task::cancel`]. A cancelled task is no failure.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::time;
    ///
    /// let ended = trine::scope(|s| {
    ///     let task = s.coroutine(|| time::sleep(Duration::MAX));
    ///     task.cancel();
    ///     task.join()
    /// })?;
    /// assert!(ended.unwrap_err().is_cancelled());
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn cancel(&self) {
        self.task.cancel();
    }

    /// Cancels the task with a reason; see [`Task::cancel_because`].
    ///
    /// ```
    /// let ended = trine::scope(|s| {
    ///     let task = s.coroutine(|| trine::time::sleep(std::time::Duration::MAX));
    ///     task.cancel_because("it took too long");
    ///     task.join()
    /// })?;
    /// assert!(ended.unwrap_err().to_string().ends_with("was cancelled: it took too long"));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn cancel_because(&self, reason: impl Into<Arc<str>>) {
        self.task.cancel_because(reason);
    }

    /// Returns a handle that can only cancel; see [`Task::canceller`].
    ///
    /// ```
    /// let ended = trine::scope(|s| {
    ///     let task = s.coroutine(|| trine::time::sleep(std::time::Duration::MAX));
    ///     let canceller = task.canceller();
    ///     s.thread(move || canceller.cancel());
    ///     task.join()
    /// })?;
    /// assert!(ended.unwrap_err().is_cancelled());
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn canceller(&self) -> Canceller {
        self.task.canceller()
    }

    /// Returns true if the task has ended.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// Returns the task's number.
    pub fn id(&self) -> TaskId {
        self.info.id
    }

    /// Returns the task's name.
    pub fn name(&self) -> Option<Arc<str>> {
        self.info.name.clone()
    }

    /// Returns the way in which the task runs.
    ///
    /// ```
    /// let kind = trine::scope(|s| s.process(1, |n: u32| n + 1).kind())?;
    /// assert_eq!(kind, trine::Kind::Process);
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn kind(&self) -> Kind {
        self.info.kind
    }

    /// Returns the place in the source where the task was started.
    pub fn location(&self) -> &'static Location<'static> {
        self.info.location
    }
}

impl<T> fmt::Debug for ScopedTask<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScopedTask({})", self.info)
    }
}
