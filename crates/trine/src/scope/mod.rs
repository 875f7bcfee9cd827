//! Scopes: tasks of any kind that end before the call that started them returns.
//!
//! [`scope`] waits for every task started in it, even if its function fails. So coroutines and
//! threads may borrow from outside, and nothing is left running behind an error. The first failure
//! ends the other tasks; under [`supervise`] they go on. [`join_all`] and [`race`] are for tasks
//! outside any scope.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | [`scope`], [`supervise`] |
//! | `body.rs` | the call of a scope's function, and the wait for its tasks |
//! | `spawn.rs` | [`Scope`]: starting tasks |
//! | `try_scope.rs` | [`try_scope()`], [`TryScope`]: errors that tasks return |
//! | `map.rs` | [`Scope::map`], [`ScopedMap`], [`ScopedUnordered`] |
//! | `drain.rs` | [`Scope::join_all`], [`Scope::join_all_timeout`] |
//! | `scoped_task.rs` | [`ScopedTask`]: their handles |
//! | `work.rs` | the function of a task, and the value that it leaves |
//! | `shared.rs` | the live tasks and the failures of one scope |
//! | `gather.rs` | [`join_all`], [`race`] |

use crate::task::TaskError;

mod body;
mod drain;
mod gather;
mod map;
mod scoped_task;
mod shared;
mod spawn;
mod try_scope;
mod work;

pub use gather::{join_all, race};
pub use map::{ScopedMap, ScopedUnordered};
pub use scoped_task::ScopedTask;
pub use spawn::Scope;
pub use try_scope::{TryScope, try_scope};

use body::run;
use shared::{Policy, Shared};

/// Runs `f`, which may start tasks in its scope, and waits until all of them have ended.
///
/// The first task that fails (by a panic, a crash or a timeout) cancels the others and ends the
/// waits of `f`. Its error is returned, with the later failures as
/// [`suppressed`](TaskError::suppressed). A task that was cancelled is no failure. A panic of `f`
/// itself cancels the tasks, and is resumed when they have ended. A panic of `f` after a failure,
/// maybe because of it, is suppressed like a task's.
///
/// ```
/// let text = String::from("one task three ways");
/// let (words, letters, shout) = trine::scope(|s| {
///     let words = s.coroutine(|| text.split(' ').count());
///     let letters = s.thread(|| text.len());
///     let shout = s.process(text.clone(), |text: String| text.to_uppercase());
///     Ok::<_, trine::TaskError>((words.join()?, letters.join()?, shout.join()?))
/// })??;
/// assert_eq!((words, letters), (4, 19));
/// assert_eq!(shout, "ONE TASK THREE WAYS");
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// A task that holds a borrow cannot outlive the borrowed data:
///
/// ```compile_fail,E0597
/// let task = {
///     let local = String::new();
///     trine::scope(|s| s.coroutine(|| local.len())).unwrap()
/// };
/// ```
///
/// # Errors
///
/// The first failure. If the caller itself is cancelled, or its time is up, the tasks are
/// cancelled. Then the error names the caller, unless all tasks had a value in spite of that.
///
/// # Panics
///
/// If `f` does, and no task failed before.
pub fn scope<'env, F, T>(f: F) -> Result<T, TaskError>
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let shared = Shared::new(Policy::EndAll);
    let value = run(&shared, &(), |scope, ()| f(scope));
    match shared.take_failures() {
        (Some(first), later) => Err(first.with_suppressed(later)),
        (None, _) => value,
    }
}

/// Runs `f` in a scope whose tasks go on when one of them fails; see [`scope`].
///
/// ```
/// let ended = trine::supervise(|s| {
///     let lucky = s.coroutine(|| 7);
///     s.coroutine(|| panic!("unlucky"));
///     lucky.join()
/// });
/// assert_eq!(ended.value??, 7);
/// assert_eq!(ended.failed, 1);
/// assert!(ended.failures[0].is_panic());
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// # Panics
///
/// If `f` does.
pub fn supervise<'env, F, T>(f: F) -> Supervised<T>
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let shared = Shared::new(Policy::KeepGoing);
    let value = run(&shared, &(), |scope, ()| f(scope));
    let (first, later) = shared.take_failures();
    let failures: Vec<_> = first.into_iter().chain(later).collect();
    Supervised { value, failures, failed: shared.failed() }
}

/// The result of a [supervised](supervise) scope.
///
/// ```
/// let ended = trine::supervise(|s| {
///     for n in 0..3 {
///         s.coroutine(move || assert_ne!(n, 1));
///     }
/// });
/// assert_eq!((ended.failed, ended.failures.len()), (1, 1));
/// ended.value?;
/// # Ok::<(), trine::TaskError>(())
/// ```
#[derive(Debug)]
#[must_use = "the failures are reported here and nowhere else"]
pub struct Supervised<T> {
    /// The value of the function; an error if the caller was cancelled or its time was up.
    pub value: Result<T, TaskError>,
    /// The failures of tasks, in their order; at most the first 1,024.
    pub failures: Vec<TaskError>,
    /// The number of tasks that have failed.
    pub failed: usize,
}
