//! Waiting for several tasks outside any scope.

use std::mem;
use std::panic::{self, AssertUnwindSafe};

use crate::task::{Interrupted, Task, TaskError, park, wait};

/// Waits for all of `tasks` and returns their results in the same order.
///
/// ```
/// let tasks = (1..=3).map(|n| trine::coroutine::spawn(move || n * n));
/// let squares: Result<Vec<i32>, _> = trine::join_all(tasks).into_iter().collect();
/// assert_eq!(squares?, [1, 4, 9]);
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// If the caller is interrupted meanwhile, each task that is still at work is detached, and its
/// error names the caller; see [`Task::join`].
///
/// # Panics
///
/// If one of the tasks is the caller's own, as [`Task::join`].
#[track_caller]
pub fn join_all<T>(tasks: impl IntoIterator<Item = Task<T>>) -> Vec<Result<T, TaskError>> {
    // An iterator that starts the tasks starts all of them before the first wait.
    let tasks: Vec<_> = tasks.into_iter().collect();
    tasks.iter().for_each(Task::refuse_endless_join);
    tasks.into_iter().map(Task::join).collect()
}

/// Waits for the first of `tasks` that has a value, cancels the others, and waits until they have
/// ended.
///
/// ```
/// use std::time::Duration;
/// use trine::{coroutine, time};
///
/// let hare = coroutine::spawn(|| time::sleep(Duration::MAX));
/// let tortoise = coroutine::spawn(|| time::sleep(Duration::from_millis(1)));
/// trine::race([hare, tortoise])?;
/// # Ok::<(), trine::TaskError>(())
/// ```
///
/// # Errors
///
/// If no task has a value: the error of the first that failed, with the others as
/// [`suppressed`](TaskError::suppressed). If the caller is interrupted before a task has a value,
/// all tasks are cancelled, and the error names the caller.
///
/// # Panics
///
/// If `tasks` is empty, or one of the tasks is the caller's own. If the value of a loser panics
/// when it is dropped: once all tasks have ended.
#[track_caller]
pub fn race<T>(tasks: impl IntoIterator<Item = Task<T>>) -> Result<T, TaskError> {
    let mut tasks: Vec<_> = tasks.into_iter().collect();
    assert!(!tasks.is_empty(), "a race without tasks has no winner; give it at least one");
    // The end of a race waits for all tasks, whatever happens to the caller.
    tasks.iter().for_each(Task::refuse_own_join);
    let mut failures = Vec::new();
    let waker = park::waker();
    let mut waited: Result<(), Interrupted> = Ok(());
    let winner = loop {
        // The tasks that have ended, in the order of `tasks`.
        let mut winner = None;
        let mut at = 0;
        while at < tasks.len() && winner.is_none() {
            if !tasks[at].register(&waker) {
                at += 1;
                continue;
            }
            match tasks.remove(at).join_uninterrupted() {
                Ok(value) => winner = Some(value),
                Err(error) => failures.push(error),
            }
        }
        if winner.is_some() || tasks.is_empty() {
            break winner;
        }
        // Only now: a value that has come is not lost.
        if let Err(interrupted) = waited {
            end(tasks, &interrupted.as_reason());
            return Err(TaskError::from(interrupted).with_suppressed(failures));
        }
        waited = wait::for_wake(None);
    };
    end(tasks, "another task has won the race");
    winner.ok_or_else(|| {
        let first = failures.remove(0);
        first.with_suppressed(failures)
    })
}

/// Cancels all tasks, then waits for each.
///
/// Their values have come too late, and are dropped. A panic of a destructor goes on when all tasks
/// have ended.
fn end<T>(tasks: Vec<Task<T>>, reason: &str) {
    for task in &tasks {
        task.cancel_because(reason);
    }
    let mut first = None;
    for task in tasks {
        let late = task.join_uninterrupted();
        match panic::catch_unwind(AssertUnwindSafe(|| drop(late))) {
            Err(payload) if first.is_none() => first = Some(payload),
            // The hook has reported this one too. Its own destructor could panic again.
            Err(payload) => mem::forget(payload),
            Ok(()) => {}
        }
    }
    if let Some(payload) = first {
        panic::resume_unwind(payload);
    }
}
