//! [`try_scope`]: a scope that ends with the first error that one of its tasks returns.
//!
//! The error of the first task waits in a cell that lives longer than the scope. Its type is the
//! program's and may borrow, so it is no [`TaskError`]; panics and crashes are converted.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::body::run;
use super::scoped_task::ScopedTask;
use super::shared::{Policy, Shared};
use super::spawn::Scope;
use crate::process::Portable;
use crate::task::{self, Cause, TaskError, TaskInfo, cancel};
use crate::{coroutine, process, thread};

/// Runs `f`, which may start tasks that return a [`Result`], and waits until all have ended.
///
/// The first `Err`, of a task or of `f`, cancels the other tasks, ends the waits of `f` and is the
/// result. A panic, a crash or a timeout of a task does the same as in [`scope`](super::scope());
/// its [`TaskError`] is converted to `E`. Later errors are dropped.
///
/// A cancelled task is no failure: neither is the `Err` that it returns after that.
///
/// ```
/// use std::time::Duration;
/// use trine::{TaskError, time};
///
/// #[derive(Debug, PartialEq)]
/// enum Error {
///     NoNumber(String),
///     Task(String),
/// }
///
/// impl From<TaskError> for Error {
///     fn from(error: TaskError) -> Error {
///         Error::Task(error.to_string())
///     }
/// }
///
/// let texts = ["1", "two"];
/// let ended = trine::try_scope(|s| {
///     s.try_coroutine(|| Ok(time::sleep(Duration::MAX))); // is cancelled
///     for text in texts {
///         s.try_coroutine(move || {
///             text.parse::<u32>().map_err(|_| Error::NoNumber(text.to_owned()))
///         });
///     }
///     Ok(())
/// });
/// assert_eq!(ended, Err(Error::NoNumber("two".to_owned())));
/// ```
///
/// # Errors
///
/// The first failure. If the caller itself is cancelled, or its time is up, see
/// [`scope`](super::scope()).
///
/// # Panics
///
/// If `f` does, and nothing failed before.
pub fn try_scope<'env, F, T, E>(f: F) -> Result<T, E>
where
    F: for<'scope> FnOnce(TryScope<'scope, 'env, E>) -> Result<T, E>,
    E: From<TaskError> + Send,
{
    let shared = Shared::new(Policy::EndAll);
    let first = Mutex::new(None);
    let value = run(&shared, &first, |scope, first| {
        let value = f(TryScope { scope, first });
        if value.is_err() {
            shared.fail_returned("the function of its scope");
        }
        value
    });
    if let Some(error) = first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    match shared.take_failures() {
        (Some(first), later) => Err(first.with_suppressed(later).into()),
        (None, _) => value.map_err(E::from)?,
    }
}

/// The argument of the function given to [`try_scope`]: it starts tasks whose `Err` ends the scope.
///
/// It is a copy of references, so tasks may use it too. [`scope`](TryScope::scope) starts tasks
/// that return no `Result`.
///
/// ```
/// let sum = trine::try_scope(|s| {
///     let a = s.try_thread(|| Ok(40));
///     let b = s.scope().coroutine(|| 2);
///     Ok::<_, trine::TaskError>(a.join()? + b.join()?)
/// })?;
/// assert_eq!(sum, 42);
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct TryScope<'scope, 'env: 'scope, E> {
    scope: &'scope Scope<'scope, 'env>,
    /// The first failure, if it is an `Err` of a task.
    first: &'scope Mutex<Option<E>>,
}

impl<'scope, 'env, E: Send> TryScope<'scope, 'env, E> {
    /// Runs `f` as a coroutine; see [`coroutine::spawn`]. An `Err` ends the scope.
    ///
    /// ```
    /// let ended = trine::try_scope(|s| {
    ///     s.try_coroutine(|| trine::checkpoint().map_err(trine::TaskError::from));
    ///     Ok::<_, trine::TaskError>(())
    /// });
    /// assert!(ended.is_ok());
    /// ```
    #[track_caller]
    pub fn try_coroutine<F, T>(self, f: F) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        let builder = coroutine::Builder::new().with_room_for::<F, Result<T, E>>();
        let f = move || self.check(f(), task::current());
        self.scope.start(f, |at, function| builder.spawn_at(at, function))
    }

    /// Runs `f` on a thread of its own; see [`thread::spawn`]. An `Err` ends the scope.
    ///
    /// ```
    /// let ended = trine::try_scope(|s| {
    ///     s.try_thread(|| Err::<(), _>(std::io::Error::other("no luck")));
    ///     Ok(())
    /// });
    /// assert_eq!(ended.unwrap_err().to_string(), "no luck");
    /// ```
    #[track_caller]
    pub fn try_thread<F, T>(self, f: F) -> ScopedTask<'scope, T>
    where
        F: FnOnce() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
    {
        let f = move || self.check(f(), task::current());
        self.scope.start(f, |at, function| thread::Builder::new().spawn_at(at, function))
    }

    /// Runs `f(arg)` in a process of its own; see [`process::spawn`]. An `Err`, which crosses to
    /// this process, ends the scope.
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    /// use trine::TaskError;
    ///
    /// #[derive(Debug, Serialize, Deserialize)]
    /// struct Error(String);
    ///
    /// impl From<TaskError> for Error {
    ///     fn from(error: TaskError) -> Error {
    ///         Error(error.to_string())
    ///     }
    /// }
    ///
    /// let ended = trine::try_scope(|s| {
    ///     s.try_process(7, |n: u32| if n < 7 { Ok(n) } else { Err(Error(format!("{n}!"))) });
    ///     Ok(())
    /// });
    /// assert_eq!(ended.unwrap_err().0, "7!");
    /// ```
    #[track_caller]
    pub fn try_process<A, R>(self, arg: A, f: fn(A) -> Result<R, E>) -> ScopedTask<'scope, R>
    where
        A: Portable,
        R: Portable,
        E: Portable,
    {
        let task = process::spawn(arg, f);
        let info = task.info();
        self.scope.adopt_with(task, move |result| self.check(result, Some(info)))
    }

    /// Returns the scope, for tasks that return no [`Result`] and for
    /// [`cancel`](Scope::cancel).
    pub fn scope(self) -> &'scope Scope<'scope, 'env> {
        self.scope
    }

    /// Ends the scope if its task has returned an error.
    fn check<T>(self, result: Result<T, E>, task: Option<TaskInfo>) -> Result<T, TaskError> {
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let by = task.as_ref().map_or_else(|| "a task".to_owned(), ToString::to_string);
        if !cancel::cancelled() && self.scope.fail_returned(&format!("{by} of its scope")) {
            *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        let reason = Some("it has returned an error, which its scope has".into());
        Err(TaskError::new(Cause::Cancelled { reason }, task))
    }
}

impl<E> Clone for TryScope<'_, '_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for TryScope<'_, '_, E> {}

impl<E> fmt::Debug for TryScope<'_, '_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryScope").finish_non_exhaustive()
    }
}
