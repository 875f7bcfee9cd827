//! Reports a stack overflow from the fault handler, before the worker dies of it.
//!
//! ```text
//!        limit                                  stack pointer      top
//!   ── gap ├──────── may still be mapped ────────┤ ░░░ in use ░░░ ┤
//!   1 MiB  └ top - RLIMIT_STACK                                   └ end of `[stack]`
//! ```
//!
//! The kernel grows the first thread's stack at a fault anywhere between `limit` and `top`. So if a
//! fault there, or in the gap below, reaches a handler, the kernel has refused to grow the stack.

use std::fmt::{self, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize};

use crate::process::wire::{self, FrameKind};
use crate::sys::io::{Blocking, socket};
use crate::sys::process::{descriptors, fork_detect};
use crate::sys::signal::{self, fault};
use crate::sys::{self, limits};

/// The end of the stack's mapping; 0 if it is not known.
static TOP: AtomicUsize = AtomicUsize::new(0);
/// The socket for the report; -1 in the template, which runs no task.
static SOCKET: AtomicI32 = AtomicI32::new(-1);
/// The label of the task in the message: a variable of [`with_label`], or null.
static LABEL: AtomicPtr<&dyn fmt::Display> = AtomicPtr::new(std::ptr::null_mut());

/// Bytes that the kernel keeps free between a stack and the mapping below (`stack_guard_gap`).
const GAP: usize = 1 << 20;

/// The report, which becomes `Cause::StackOverflow`; made in advance.
static FRAME: [u8; wire::HEAD] = wire::head(FrameKind::Overflow, 0, 0);

/// Installs the handler for the calling thread, which is the first of its process, and thereby for
/// all processes that are forked from it.
pub(super) fn install() {
    TOP.store(sys::memory::stacks::first_stack_end().unwrap_or(0), Relaxed);
    signal::stack::ensure();
    fault::install(on_fault);
}

/// Sets the socket for the report, which has to stay open as long as the process lives.
pub(super) fn report_to(socket: i32) {
    SOCKET.store(socket, Relaxed);
}

/// Calls `function`, and names the task by `label` in the message of an overflow meanwhile.
pub(super) fn with_label<T>(label: &dyn fmt::Display, function: impl FnOnce() -> T) -> T {
    /// Removes the label, also when the function panics.
    struct Labelled;
    impl Drop for Labelled {
        fn drop(&mut self) {
            LABEL.store(std::ptr::null_mut(), Relaxed);
        }
    }
    LABEL.store((&raw const label).cast_mut().cast(), Relaxed);
    let _labelled = Labelled;
    function()
}

/// Runs in the signal handler. Returns true if the fault is a stack overflow.
fn on_fault(address: usize) -> bool {
    let top = TOP.load(Relaxed);
    // Without a limit the stack may grow through all of memory: no address tells an overflow from a
    // wild pointer.
    let Some(limit) = limits::stack() else { return false };
    let lowest = top.saturating_sub(limit as usize).saturating_sub(GAP);
    if top == 0 || !(lowest.max(1)..top).contains(&address) {
        return false;
    }
    let label = LABEL.load(Relaxed);
    // SAFETY: `with_label` has set it to its own parameter, and removes it before it returns; only
    // read.
    let label = unsafe { label.as_ref() };
    let mut text = Text { bytes: [0; 512], len: 0 };
    // A label without room is cut. Formatting one takes no lock and no memory.
    let _ = match label {
        Some(label) => write!(text, "{label}"),
        None => write!(text, "a worker"),
    };
    let label = &text.bytes[..text.len];
    sys::write_stderr_raw(&[b"\ntrine: ", label, b" has overflowed its stack\n"]);
    let number = SOCKET.load(Relaxed);
    // A process that the task has forked must not report for the worker.
    if number >= 0 && !fork_detect::is_copy_of_worker() {
        // SAFETY: the worker's socket, which the worker never closes. If the task has closed it,
        // the kernel refuses the call.
        let socket = unsafe { descriptors::inherited(number) };
        // The worker's thread is in a task, so it is not in the middle of another frame.
        let _ = socket::send(socket, &FRAME, Blocking::No);
    }
    true
}

/// A text on the stack.
struct Text {
    bytes: [u8; 512],
    len: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        let count = text.len().min(room.len());
        room[..count].copy_from_slice(&text.as_bytes()[..count]);
        self.len += count;
        if count == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
