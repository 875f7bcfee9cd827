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
use crate::task::registry::{self, with_own_slot};
use crate::task::slot::{IN_HOOK, Slot};

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

/// Returns true if the caller may be unwound: it runs no panic hook, and no destructor of its stack
/// runs because of an unwinding.
pub(in crate::task) fn may_unwind() -> bool {
    !thread::panicking()
        || !(with_own_slot(|slot| slot.has_flag(IN_HOOK))
            || cleanup::is_running(at_base as fn(&dyn Fn()) as *const ()))
}

/// Calls the panic hooks of the caller's panic, which must not unwind: the panic would be lost. A
/// hook that the program has put in place of the library's does not come here.
pub(in crate::task) fn in_hook(hooks: impl FnOnce()) {
    let before = with_own_slot(|slot| {
        let before = slot.has_flag(IN_HOOK);
        slot.set_flag(IN_HOOK, true);
        before
    });
    // No guard: a panic in a hook aborts.
    hooks();
    with_own_slot(|slot| slot.set_flag(IN_HOOK, before));
}

/// Calls `f` at the base of a coroutine's stack. The frames outside of it are the carrier's, whose
/// unwindings do not concern the coroutine.
#[inline(never)]
pub(crate) fn at_base(f: &dyn Fn()) {
    f();
    // The call stays a call, and so this function on the stack.
    std::hint::black_box(());
}
