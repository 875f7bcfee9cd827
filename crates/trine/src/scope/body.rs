//! The call of a scope's function, and the wait for its tasks.

use std::panic;
use std::sync::Arc;

use super::shared::Shared;
use super::spawn::Scope;
use crate::task::{self, Interrupted, TaskError, cancel, failure, unwind};

/// Runs the body of a scope and waits for its tasks; the failures stay in `shared`. The tasks may
/// borrow `extra`.
pub(super) fn run<'env, X, F, T>(shared: &Arc<Shared>, extra: &X, f: F) -> Result<T, TaskError>
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>, &'scope X) -> T,
{
    let scope = Scope::new(Arc::clone(shared));
    let body = cancel::run_in(shared.body(), || f(&scope, extra));
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
