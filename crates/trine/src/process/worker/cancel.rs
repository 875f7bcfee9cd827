//! The signal by which the master ends a worker's task.
//!
//! ```text
//!   master                          worker, first thread
//!   ──────                          ────────────────────
//!                                   enter: TASK := slot ─► is the board's word its number? ─► skip
//!   board: cancel := number               │ begun := number, the function runs
//!   SIGTERM, marked ────────────►   handler: is the board's word TASK's number?
//!                                         │ yes: CANCELLED into its state word, wake the thread
//!                                   drop:  TASK := none, after the last answer
//! ```
//!
//! The master writes before it sends, and the worker sets `TASK` before it looks. So either the
//! look or the handler sees the word. A signal after the task's end finds no task, or another one.

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64};
use std::task::Waker;

use crate::process::wire::board::OwnSlot;
use crate::sys::signal::sigterm;
use crate::task::info::progress;
use crate::task::park;
use crate::task::slot::{Request, Slot};

/// The task on the first thread; null for none. Stored by that thread only.
static TASK: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

/// State for the handler: the worker's slot and its first thread's waker; not set in the template.
static WORKER: OnceLock<(OwnSlot, Waker)> = OnceLock::new();

/// Installs the handler, for the calling process and all that are forked from it.
pub(super) fn install() {
    sigterm::install(on_signal, is_requested);
}

/// Keeps the worker's slot, on which its tasks publish their progress, and the waker of the calling
/// thread, which is the first of its process. Called once.
pub(super) fn keep(board: OwnSlot) -> &'static OwnSlot {
    progress::publish_by(|task, progress| {
        if let Some((board, _)) = WORKER.get() {
            board.progress(task, progress);
        }
    });
    &WORKER.get_or_init(|| (board, park::waker())).0
}

/// A guard: a task is on the first thread as long as it lives.
pub(super) struct OnFirstThread;

/// Notes that the first thread, the caller, runs the task from now on.
pub(super) fn enter(slot: &'static Slot) -> OnFirstThread {
    TASK.store(ptr::from_ref(slot).cast_mut(), Release);
    OnFirstThread
}

impl Drop for OnFirstThread {
    fn drop(&mut self) {
        TASK.store(ptr::null_mut(), Release);
    }
}

/// Runs in the signal handler. Returns true if the board has another request than at the last
/// signal.
fn is_requested() -> bool {
    static SEEN: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    let Some((board, _)) = WORKER.get() else { return false };
    let requests = board.requests().into_iter().zip(&SEEN);
    requests.fold(false, |is_new, (request, seen)| is_new | (seen.swap(request, AcqRel) != request))
}

/// Runs in the signal handler. Returns true if the signal concerns the task that runs now.
fn on_signal(on_first_thread: bool) -> bool {
    // SAFETY: null, or from the `&'static Slot` of `enter`.
    let Some(slot) = (unsafe { TASK.load(Acquire).as_ref() }) else { return false };
    let Some((board, waker)) = WORKER.get() else { return false };
    let task = slot.raw_id();
    let cancelled = board.is_cancelled(task);
    // On the first thread the handler interrupts the task, so the task cannot end before the
    // request.
    if cancelled && on_first_thread && slot.request_cancel(None) == Request::Wake {
        park::wake_by_ref(waker);
    }
    // A task knows its deadline; the signal only has to interrupt its system call.
    cancelled || board.is_expired(task)
}
