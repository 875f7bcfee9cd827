//! The function of a task of a scope, with all that it borrows, and the value that it leaves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::shared::Member;
use crate::task::{self, Cause, Task, TaskError, cancel, failure};

/// The work of a task of a scope. The fields are dropped in this order: first everything that lives
/// for the scope, then the member.
pub(super) struct Work<F, T> {
    pub(super) function: Option<F>,
    /// The moment at which the waits of the starting task end.
    pub(super) deadline: Option<Instant>,
    pub(super) packet: Arc<Packet<T>>,
    pub(super) member: Member,
}

impl<F, T> Work<F, T>
where
    F: FnOnce() -> Result<T, TaskError>,
{
    /// Calls the function and stores its result.
    ///
    /// Never unwinds: a panic of the function, or of the destructor of an unwanted value, ends
    /// here.
    pub(super) fn run(mut self) {
        cancel::inherit(self.deadline);
        let function = self.function.take().expect("work is done once");
        let result = match self.member.refusal.take() {
            None => failure::catch(task::current, function).and_then(|result| result),
            // The scope was ending before the starting task could cancel this one.
            reason @ Some(_) => failure::catch(task::current, || drop(function))
                .and_then(|()| Err(TaskError::new(Cause::Cancelled { reason }, task::current()))),
        };
        if let Err(error) = &result {
            self.member.fail(error);
        }
        self.packet.put(result);
        // If the handle is dropped already, the task itself drops the value.
        if let Some(packet) = Arc::get_mut(&mut self.packet) {
            let value = packet.take();
            if let Err(error) = failure::catch(task::current, || drop(value)) {
                self.member.fail(&error);
            }
        }
    }
}

impl<F, T> Drop for Work<F, T> {
    fn drop(&mut self) {
        if self.function.is_some() {
            self.member.refuse(task::current());
        }
    }
}

/// The cell in which the value of a task waits for its joiner.
pub(super) struct Packet<T>(Mutex<Option<Result<T, TaskError>>>);

impl<T> Packet<T> {
    pub(super) fn new() -> Packet<T> {
        Packet(Mutex::new(None))
    }

    fn put(&self, result: Result<T, TaskError>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    fn take(&self) -> Option<Result<T, TaskError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes the result of a task that has ended with `ended`.
    pub(super) fn result(&self, ended: Result<(), TaskError>) -> Result<T, TaskError> {
        self.take().unwrap_or_else(|| {
            // The task never ran, or the caller was interrupted.
            Err(ended.expect_err("a task that has run has left its result"))
        })
    }
}

/// A task that a coroutine of the scope watches over: it is cancelled when the coroutine is, and
/// joined in any case.
pub(super) struct Watched<T>(pub(super) Option<Task<T>>);

impl<T> Watched<T> {
    pub(super) fn join(&mut self) -> Result<T, TaskError> {
        let mut task = self.0.take().expect("joined once");
        if let Err(interrupted) = task.wait() {
            task.cancel_because(interrupted.as_reason());
        }
        task.join_uninterrupted()
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.cancel();
        }
    }
}
