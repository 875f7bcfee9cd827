//! Panics: noted where they happen, reported at once, kept for the joiner.
//!
//! A panic hook, put in front of the program's own at the first spawn, notes message, place and
//! backtrace for the task that panics, prints one line that names the task, and hands on to the
//! hook that was there (std's prints the message; a test's captures it). The task's frame catches
//! the unwinding and joins the note with the payload.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use super::{Backtrace, Cause, SourceLocation, TaskError, TaskId, TaskInfo, registry};

/// What the hook saw of a panic.
struct Note {
    task: TaskId,
    location: Option<SourceLocation>,
    backtrace: Backtrace,
}

thread_local! {
    /// Panics on their way from the hook to the frame that catches them. More than one only where
    /// a coroutine waits while it unwinds and another one panics meanwhile.
    static NOTES: RefCell<Vec<Note>> = const { RefCell::new(Vec::new()) };
}

/// Puts the hook in place; later calls change nothing.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            note(info);
            previous(info);
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    let Some(task) = registry::current().and_then(registry::Slot::info) else {
        return;
    };
    eprintln!("trine: {task} panicked:");
    let note = Note {
        task: task.id,
        location: info.location().map(SourceLocation::from),
        backtrace: Backtrace::capture(),
    };
    // A panic of a thread whose storage is already gone is still caught, only without its place.
    let _ = NOTES.try_with(|notes| notes.borrow_mut().push(note));
}

/// Calls a task's function; a panic becomes an error of `task`.
///
/// The panic is caught for good: what the function shared with others is theirs to check, which is
/// why std's threads do not ask for `UnwindSafe` either.
pub(crate) fn catch<T>(
    task: impl FnOnce() -> Option<TaskInfo>,
    function: impl FnOnce() -> T,
) -> Result<T, TaskError> {
    panic::catch_unwind(AssertUnwindSafe(function)).map_err(|payload| from_payload(task(), payload))
}

#[cold]
fn from_payload(task: Option<TaskInfo>, payload: Box<dyn Any + Send>) -> TaskError {
    let note = NOTES
        .try_with(|notes| {
            let mut notes = notes.borrow_mut();
            let at =
                notes.iter().rposition(|note| task.as_ref().is_some_and(|t| t.id == note.task));
            at.map(|at| notes.remove(at))
        })
        .ok()
        .flatten();
    let (location, backtrace) = match note {
        Some(note) => (note.location, note.backtrace),
        None => (None, Backtrace::default()),
    };
    let message = message_of(&*payload).unwrap_or_default().to_owned();
    TaskError::new(Cause::Panicked { message, location, backtrace }, task).with_payload(payload)
}

/// The text of a panic's payload, if it has one.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}
