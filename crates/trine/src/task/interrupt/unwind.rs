//! Unwinding: the interruption that travels up a stack, and the check that none is under way.
//!
//! A wait that cannot fail ends a cancelled task by unwinding it with an [`Unwind`] as the payload.
//! It must not do so while a destructor runs because of another unwinding, for a second one there
//! aborts. std counts panics by thread and coroutines share a thread, so a positive count is only a
//! reason to look at the stack ([`cleanup`]).

use std::any::Any;
use std::fmt;
use std::io::{self, Write};
use std::panic;
use std::process;
use std::thread;

use super::Interrupted;
use crate::sys::cleanup;
use crate::task::registry;
use crate::task::slot::Slot;

/// The payload that unwinds a task which is interrupted in a wait that cannot fail.
struct Unwind(Interrupted);

/// Unwinds the caller; ends the program where panics abort.
#[cold]
pub(in crate::task) fn unwind(interrupted: Interrupted) -> ! {
    if cfg!(panic = "abort") {
        abort(&interrupted);
    }
    // Not `panic!`: an interruption is no fault, so the panic hook must not report it.
    panic::resume_unwind(Box::new(Unwind(interrupted)))
}

/// Ends the program: the caller is interrupted in a wait that cannot fail, and panics abort.
///
/// To wait on would hang all that join the task. To return early would be an endless loop in a task
/// that waits again and again.
fn abort(interrupted: &Interrupted) -> ! {
    let task = registry::current().and_then(Slot::info);
    let task: &dyn fmt::Display = task.as_ref().map_or(&"a thread", |task| task);
    // Not `eprintln!`, which panics where standard error cannot be written.
    let _ = writeln!(
        io::stderr(),
        "\ntrine: {task} was interrupted ({interrupted}) in a wait that cannot fail\n\
         The interruption would unwind its stack, which a program that is built with \
         panic = \"abort\" cannot.\nEnd it by other means, wait by calls that return a Result, or \
         build with panic = \"unwind\".\nfatal error: cannot unwind, aborting"
    );
    process::abort()
}

/// Returns the interruption that a payload carries, if it is one.
pub(crate) fn interruption(payload: &(dyn Any + Send)) -> Option<&Interrupted> {
    payload.downcast_ref::<Unwind>().map(|unwind| &unwind.0)
}

/// Returns true if the caller may be unwound: no destructor of its stack runs because of an
/// unwinding.
pub(in crate::task) fn may_unwind() -> bool {
    !thread::panicking() || !cleanup::is_running(at_base as fn(&dyn Fn()) as *const ())
}

/// Returns true if the caller may be in a panic hook, or in a destructor that runs because of an
/// unwinding: also while another coroutine of its thread waits in one.
#[inline]
pub(in crate::task) fn caller_unwinds() -> bool {
    thread::panicking()
}

/// Calls `f` at the base of a coroutine's stack. The frames outside of it are the carrier's, whose
/// unwindings do not concern the coroutine.
#[inline(never)]
pub(crate) fn at_base(f: &dyn Fn()) {
    f();
    // The call stays a call, and so this function on the stack.
    std::hint::black_box(());
}
