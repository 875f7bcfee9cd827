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
//! | `spawn.rs` | [`Scope`]: starting tasks |
//! | `map.rs` | [`Scope::map`], [`ScopedMap`], [`ScopedUnordered`] |
//! | `scoped_task.rs` | [`ScopedTask`]: their handles |
//! | `work.rs` | the function of a task, and the value that it leaves |
//! | `shared.rs` | the live tasks and the failures of one scope |
//! | `gather.rs` | [`join_all`], [`race`] |

use std::panic;
use std::sync::Arc;

use crate::task::{self, Interrupted, TaskError, cancel, failure, unwind};

mod gather;
mod map;
mod scoped_task;
mod shared;
mod spawn;
mod work;

pub use gather::{join_all, race};
pub use map::{ScopedMap, ScopedUnordered};
pub use scoped_task::ScopedTask;
pub use spawn::Scope;

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
    let value = run(&shared, f);
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
    let value = run(&shared, f);
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

/// Runs the body of a scope and waits for its tasks; the failures stay in `shared`.
fn run<'env, F, T>(shared: &Arc<Shared>, f: F) -> Result<T, TaskError>
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope::new(Arc::clone(shared));
    let body = cancel::run_in(shared.body(), || f(&scope));
    let failed_before = shared.has_failed();
    if let Err(payload) = &body {
        shared.end_all(match unwind::interruption(&**payload) {
            Some(interrupted) => interrupted.as_reason(),
            None => "the function of its scope has panicked".to_owned(),
        });
    }
    // No unwinding and no return may pass this line before the last task has ended.
    let waited = shared.wait_for_all();
    match body {
        Ok(value) => waited.map(|()| value).map_err(TaskError::from),
        Err(payload) if unwind::interruption(&*payload).is_none() => {
            if !failed_before || !shared.ends_all() {
                panic::resume_unwind(payload);
            }
            let error = failure::from_payload(task::current(), payload);
            shared.suppress(error.clone());
            Err(error)
        }
        Err(payload) => {
            // A cancellation of the caller would last, so it did not end the waits; nor did its
            // deadline, which may have passed since then.
            let is_cancelled = |interrupted: &Interrupted| interrupted.is_cancelled();
            let by_failure = unwind::interruption(&*payload).is_some_and(is_cancelled)
                && shared.has_failed()
                && !cancel::checkpoint().as_ref().is_err_and(is_cancelled);
            if !by_failure {
                panic::resume_unwind(payload);
            }
            // The failure that has ended the waits of `f` is the error of the scope.
            Err(TaskError::from(unwind::interruption(&*payload).expect("just looked").clone()))
        }
    }
}
