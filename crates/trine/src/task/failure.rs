//! Panics: noted where they happen, reported at once, kept for the joiner.
//!
//! The first spawn installs a panic hook in front of the program's own. It notes message, place and
//! backtrace for the task that panics, and prints one line that names the task. Then it calls the
//! previous hook (std's prints the message; a test's captures it). The task's frame catches the
//! unwinding and joins the note with the payload.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Once, OnceLock};
use std::thread;

use super::error::{Backtrace, Cause, SourceLocation, TaskError};
use super::info::TaskInfo;
use super::slot::Slot;
use super::{registry, unwind};
use crate::sys;

/// The hook's notes of a panic.
struct Note {
    location: Option<SourceLocation>,
    backtrace: Backtrace,
}

thread_local! {
    /// The latest panic of each task, on its way from the hook to the frame that catches it, or
    /// caught by the task itself. By the task's [identity](Slot::identity): the task of a worker
    /// process may share its id with a task that it has spawned.
    static NOTES: RefCell<BTreeMap<u64, Note>> = const { RefCell::new(BTreeMap::new()) };
    /// The number of notes: cheap to check by a task that ends well.
    static NOTED: Cell<usize> = const { Cell::new(0) };
}

/// Calls its argument where there is room on the stack for the report of a panic.
pub(crate) type WithRoom = fn(&mut dyn FnMut());

static WITH_ROOM: OnceLock<WithRoom> = OnceLock::new();

/// Has panics reported by `with_room`, for threads with small stacks.
pub(crate) fn set_room(with_room: WithRoom) {
    WITH_ROOM.get_or_init(|| with_room);
}

/// Installs the hook; later calls change nothing. A spawn in a destructor during a panic leaves
/// that to the next spawn: std refuses to exchange hooks there.
pub(crate) fn install_hook() {
    static ONCE: Once = Once::new();
    if ONCE.is_completed() || thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let mut report = || {
                unwind::in_hook(|| {
                    note(info);
                    previous(info);
                });
            };
            match WITH_ROOM.get() {
                Some(with_room) => with_room(&mut report),
                None => report(),
            }
        }));
    });
}

/// Notes and reports a panic of the calling task.
fn note(info: &PanicHookInfo<'_>) {
    let Some(slot) = registry::current() else { return };
    let Some(task) = slot.info() else { return };
    sys::eprint(format_args!("trine: {task} panicked:\n"));
    let note = Note {
        location: info.location().map(SourceLocation::from),
        backtrace: Backtrace::capture(),
    };
    put_note(slot.identity(), note);
}

fn put_note(task: u64, note: Note) {
    // A panic of a thread whose storage is destroyed is still caught, only without its place.
    let _ = NOTES.try_with(|notes| {
        let mut notes = notes.borrow_mut();
        notes.insert(task, note);
        NOTED.set(notes.len());
    });
}

/// Takes the note of the calling task, if there is one.
#[cold]
fn take_note() -> Option<Note> {
    let task = registry::current()?.identity();
    let taken = NOTES.try_with(|notes| {
        let mut notes = notes.borrow_mut();
        let note = notes.remove(&task);
        NOTED.set(notes.len());
        note
    });
    taken.ok().flatten()
}

/// Calls `f` while a panic of the calling task is on its way: panics that `f` catches do not
/// replace its note.
pub(crate) fn keeping_note<R>(f: impl FnOnce() -> R) -> R {
    let note = take_note();
    let result = f();
    drop(take_note());
    if let (Some(note), Some(task)) = (note, registry::current().map(Slot::identity)) {
        put_note(task, note);
    }
    result
}

/// Calls a task's function; a panic or an interruption becomes an error of `task`.
///
/// The panic ends here. Data that the function shares is checked by its owners, which is why std's
/// threads do not require `UnwindSafe` either.
#[inline(never)] // Printed backtraces end here.
pub(crate) fn catch<T>(
    task: impl FnOnce() -> Option<TaskInfo>,
    function: impl FnOnce() -> T,
) -> Result<T, TaskError> {
    let result = panic::catch_unwind(AssertUnwindSafe(function));
    if result.is_ok() && NOTED.get() != 0 {
        // The task has caught that panic itself.
        drop(take_note());
    }
    result.map_err(|payload| from_payload(task(), payload))
}

/// Makes the error of a task that has unwound with `payload`; called by the task.
#[cold]
pub(crate) fn from_payload(task: Option<TaskInfo>, payload: Box<dyn Any + Send>) -> TaskError {
    let (location, backtrace) = match take_note() {
        Some(note) => (note.location, note.backtrace),
        None => (None, Backtrace::default()),
    };
    if let Some(interrupted) = unwind::interruption(&*payload) {
        return TaskError::new(interrupted.clone().into(), task);
    }
    let message = message_of(&*payload).unwrap_or_default().to_owned();
    TaskError::new(Cause::Panicked { message, location, backtrace }, task).with_payload(payload)
}

/// Returns the text of a panic's payload, if it has one.
pub(crate) fn message_of(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::super::info::Kind;
    use super::super::registry::Entry;
    use super::*;
    use std::panic::Location;

    #[test]
    fn panics_that_a_task_catches_itself_are_kept_no_longer_than_the_task() {
        install_hook();
        let entry = Entry::new(Kind::Thread, None, Location::caller());
        registry::set_current(Some(entry.slot));
        let caught = || panic::catch_unwind(|| panic!("caught by the task itself"));
        let many = catch(|| None, || (0..10).filter(|_| caught().is_err()).count());
        assert_eq!((many.unwrap(), NOTED.get()), (10, 0));
        // A panic that is resumed after it was caught keeps the place where it began.
        let carried = || panic::resume_unwind(caught().unwrap_err());
        let error = catch(|| Some(entry.info()), carried).map(|never: ()| never).unwrap_err();
        registry::set_current(None);
        let Cause::Panicked { location, message, .. } = error.cause() else { panic!("{error}") };
        assert!(location.as_ref().is_some_and(|location| location.file == file!()));
        assert_eq!((message.as_str(), NOTED.get()), ("caught by the task itself", 0));
    }
}
