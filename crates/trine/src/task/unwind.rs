//! Unwinding: the interruption that travels up a stack, and the check that none is under way.
//!
//! A wait that cannot fail ends a cancelled task by unwinding it with an [`Unwind`] as the payload.
//! It must not do so while a destructor runs because of another unwinding, for a second one there
//! aborts. std counts panics by thread and coroutines share a thread, so a positive count is only a
//! reason to look at the stack ([`cleanup`]).

use std::any::Any;
use std::panic;
use std::thread;

use super::interrupt::Interrupted;
use crate::sys::cleanup;

/// The payload that unwinds a task which is interrupted in a wait that cannot fail.
struct Unwind(Interrupted);

/// Unwinds the caller.
#[cold]
pub(super) fn unwind(interrupted: Interrupted) -> ! {
    // Not `panic!`: an interruption is no fault, so the panic hook must not report it.
    panic::resume_unwind(Box::new(Unwind(interrupted)))
}

/// Returns the interruption that a payload carries, if it is one.
pub(crate) fn interruption(payload: &(dyn Any + Send)) -> Option<&Interrupted> {
    payload.downcast_ref::<Unwind>().map(|unwind| &unwind.0)
}

/// Returns true if the caller may be unwound: no destructor of its stack runs because of an
/// unwinding.
pub(super) fn may_unwind() -> bool {
    !thread::panicking() || !cleanup::is_running(at_base as fn(&dyn Fn()) as *const ())
}

/// Returns true if the caller may be in a panic hook, or in a destructor that runs because of an
/// unwinding: also while another coroutine of its thread waits in one.
#[inline]
pub(super) fn caller_unwinds() -> bool {
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
