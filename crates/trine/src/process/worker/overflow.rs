//! A worker that runs off the end of its stack says so before it dies.
//!
//! ```text
//!        limit                                  stack pointer      top
//!   ── gap ├──────── may still be mapped ────────┤ ░░░ in use ░░░ ┤
//!   1 MiB  └ top - RLIMIT_STACK                                   └ end of `[stack]`
//! ```
//!
//! The kernel grows the first thread's stack at a fault anywhere between `limit` and `top`. So a fault
//! that reaches a handler from there, or from the gap below, is one at which it refused to.

use std::fmt::{self, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicUsize};

use crate::process::wire::{self, FrameKind};
use crate::sys::io::{Blocking, socket};
use crate::sys::process::{descriptors, fork_detect};
use crate::sys::signal::fault;
use crate::sys::{self, limits};

/// The end of the stack's mapping; 0 if it is not known.
static TOP: AtomicUsize = AtomicUsize::new(0);
/// Where to tell it; -1 in the template, which runs no task.
static SOCKET: AtomicI32 = AtomicI32::new(-1);
/// What the message calls the task: in the frame that runs it, or null.
static LABEL: AtomicPtr<&dyn fmt::Display> = AtomicPtr::new(std::ptr::null_mut());

/// The kernel keeps this much free between a stack and the mapping below (`stack_guard_gap`).
const GAP: usize = 1 << 20;

/// The frame that becomes `Cause::StackOverflow`, ready before there is need.
static FRAME: [u8; wire::HEAD] = wire::head(FrameKind::Overflow, 0, 0);

/// Prepares the calling thread, the first of its process, and so all that are forked from it.
pub(in crate::process) fn install() {
    TOP.store(sys::memory::stacks::first_stack_end().unwrap_or(0), Relaxed);
    fault::ensure_signal_stack();
    fault::install(look);
}

/// Says which socket to tell it at; open as long as the process lives.
pub(in crate::process) fn report_to(socket: i32) {
    SOCKET.store(socket, Relaxed);
}

/// Calls `function` as the task that `label` names.
pub(in crate::process) fn labelled<T>(label: &dyn fmt::Display, function: impl FnOnce() -> T) -> T {
    /// Takes the label back also when the function panics.
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

/// Runs in the signal handler.
fn look(address: usize) -> bool {
    let top = TOP.load(Relaxed);
    // Without a limit the stack ends where memory does, and no address tells it from a wild pointer.
    let Some(limit) = limits::stack() else { return false };
    let lowest = top.saturating_sub(limit as usize).saturating_sub(GAP);
    if top == 0 || !(lowest.max(1)..top).contains(&address) {
        return false;
    }
    let label = LABEL.load(Relaxed);
    // SAFETY: set by `labelled` to a variable of its own, and taken back before that ends; only read.
    let label = unsafe { label.as_ref() };
    let mut text = Text { bytes: [0; 512], len: 0 };
    // What has no room is cut. To write out what a task is called takes no lock and no memory.
    let _ = match label {
        Some(label) => write!(text, "{label}"),
        None => write!(text, "a worker"),
    };
    let label = &text.bytes[..text.len];
    sys::write_stderr_raw(&[b"\ntrine: ", label, b" has overflowed its stack\n"]);
    let number = SOCKET.load(Relaxed);
    // What the task has forked does not speak for it.
    if number >= 0 && !fork_detect::is_copy_of_worker() {
        // SAFETY: the worker's socket, which it never closes; had the task closed it, the call would
        // be refused.
        let socket = unsafe { descriptors::inherited(number) };
        // Between two frames: the worker's thread is in a task, so it is not within one.
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
