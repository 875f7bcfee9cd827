//! A worker hears that its task is to end.
//!
//! ```text
//!   master                          worker, first thread
//!   ──────                          ────────────────────
//!                                   running: TASK := slot ─► is the board's word its number? ─► skip
//!   board: cancel := number               │ begun := number, the function runs
//!   SIGTERM, marked ────────────►   handler: is the board's word TASK's number?
//!                                         │ yes: CANCELLED into its state word, wake the thread
//!                                   ended:   TASK := none, then the answer
//! ```
//!
//! The master writes before it sends, and the worker sets `TASK` before it looks: so either the look
//! or the handler sees the word. Whatever comes after the end finds no task, or another one.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::task::Waker;

use crate::process::wire::board::OwnSlot;
use crate::sys::signal::sigterm;
use crate::task::slot::{Request, Slot};
use crate::task::{park, progress};

/// The task that runs on the first thread; null for none. Stored by that thread only.
static TASK: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

/// What the handler needs in a worker; not set in the template.
static WORKER: OnceLock<(OwnSlot, Waker)> = OnceLock::new();

/// Prepares the calling process and all that are forked from it.
pub(in crate::process) fn install() {
    sigterm::install(hear);
}

/// Makes the calling thread, the first of its process, the one that is woken, and `place` what its tasks tell
/// their progress on; called once.
pub(in crate::process) fn keep(place: OwnSlot) -> &'static OwnSlot {
    progress::publish_by(|task, progress| {
        if let Some((place, _)) = WORKER.get() {
            place.progress(task, progress);
        }
    });
    &WORKER.get_or_init(|| (place, park::waker())).0
}

/// A task is on the first thread as long as this lives.
pub(in crate::process) struct Running;

/// Notes that the first thread, the caller, runs the task from now on.
pub(in crate::process) fn running(slot: &'static Slot) -> Running {
    TASK.store(ptr::from_ref(slot).cast_mut(), Release);
    Running
}

impl Drop for Running {
    fn drop(&mut self) {
        TASK.store(ptr::null_mut(), Release);
    }
}

/// Runs in the signal handler.
fn hear(on_first_thread: bool) -> bool {
    // SAFETY: null, or from the `&'static Slot` of `running`.
    let Some(slot) = (unsafe { TASK.load(Acquire).as_ref() }) else { return false };
    let Some((place, waker)) = WORKER.get() else { return false };
    let task = slot.raw_id();
    let cancelled = place.is_cancelled(task);
    // On the first thread the task is interrupted here, so it cannot end before the request.
    if cancelled && on_first_thread && slot.request_cancel(None) == Request::Wake {
        waker.wake_by_ref();
    }
    // A task whose time is up knows the time; only a system call of it has to be interrupted.
    cancelled || place.is_expired(task)
}
