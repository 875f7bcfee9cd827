//! Unwinding: the interruption that travels up a stack, and the check that none is under way.
//!
//! A wait that cannot fail ends a cancelled task by unwinding it with an [`Unwind`] as the payload.
//! It must not do so while a destructor runs because of another unwinding, for a second one there
//! aborts. std counts panics by thread and coroutines share a thread, so each task keeps in its
//! [`Slot`] whether an unwinding of its own has begun.

use std::any::Any;
use std::cell::Cell;
use std::panic;
use std::thread;

use super::interrupt::Interrupted;
use super::registry::with_own_slot;
use super::slot::{Slot, UNWINDING};

thread_local! {
    /// The number of coroutines of this thread that wait in a destructor run by an unwinding.
    static SUSPENDED: Cell<usize> = const { Cell::new(0) };
}

/// The identity of one unwinding of one task or thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unwinding {
    /// The number of the task or thread.
    whose: u64,
    number: u32,
}

impl Unwinding {
    /// Notes that an unwinding begins, of the caller, whose slot this is.
    fn begin(slot: &Slot) -> Unwinding {
        Unwinding { number: slot.begin_unwinding(), ..Unwinding::last(slot) }
    }

    /// Returns the last unwinding of the caller.
    fn last(slot: &Slot) -> Unwinding {
        let whose = match slot.identity() {
            0 => slot.thread(),
            task => task,
        };
        Unwinding { whose, number: slot.unwinding() }
    }

    /// Notes that it has ended. Changes nothing if it was not the caller's, or if a later one has
    /// begun.
    fn end(self, slot: &Slot) {
        if Unwinding::last(slot) == self {
            slot.set_flag(UNWINDING, false);
        }
    }
}

/// The payload that unwinds a task which is interrupted in a wait that cannot fail.
struct Unwind {
    interrupted: Interrupted,
    begun: Unwinding,
}

impl Drop for Unwind {
    /// Ends the unwinding: the payload was caught, maybe long ago or on another thread.
    fn drop(&mut self) {
        with_own_slot(|slot| self.begun.end(slot));
    }
}

/// Unwinds the caller.
#[cold]
pub(super) fn unwind(interrupted: Interrupted) -> ! {
    let begun = with_own_slot(Unwinding::begin);
    // Not `panic!`: an interruption is no fault, so the panic hook must not report it.
    panic::resume_unwind(Box::new(Unwind { interrupted, begun }))
}

/// Returns the interruption that a payload carries, if it is one.
pub(crate) fn interruption(payload: &(dyn Any + Send)) -> Option<&Interrupted> {
    payload.downcast_ref::<Unwind>().map(|unwind| &unwind.interrupted)
}

/// Returns true if the caller may be unwound.
///
/// False where a panic aborts, and during an unwinding: a second one there aborts.
pub(super) fn may_unwind(slot: &Slot) -> bool {
    cfg!(panic = "unwind") && !is_unwinding(slot)
}

/// Returns true if a destructor of the caller runs because of an unwinding.
///
/// std counts panics by thread. While a coroutine waits in such a destructor, the others of its
/// thread see its count; of those, only the ones that are known to have begun an unwinding count as
/// unwinding. A coroutine that has caught a panic since is wrongly among them, for as long as that
/// lasts.
fn is_unwinding(slot: &Slot) -> bool {
    let panicking = thread::panicking();
    if !panicking && slot.has_flag(UNWINDING) {
        slot.set_flag(UNWINDING, false);
    }
    panicking && (SUSPENDED.get() == 0 || slot.has_flag(UNWINDING))
}

/// Returns true if the caller is in a panic hook, or in a destructor that runs because of an
/// unwinding.
pub(super) fn caller_unwinds() -> bool {
    thread::panicking() && with_own_slot(is_unwinding) != Some(false)
}

/// Counts the caller, a coroutine, as waiting while it unwinds, for as long as the value lives.
pub(super) struct Suspension(bool);

/// Begins a [`Suspension`], which counts only if the caller unwinds.
#[inline]
pub(super) fn begin_suspension() -> Suspension {
    let unwinding = thread::panicking() && with_own_slot(is_unwinding);
    if unwinding {
        SUSPENDED.set(SUSPENDED.get() + 1);
    }
    Suspension(unwinding)
}

impl Drop for Suspension {
    #[inline]
    fn drop(&mut self) {
        if self.0 {
            SUSPENDED.set(SUSPENDED.get() - 1);
        }
    }
}

/// Notes that a panic begins to unwind the caller.
pub(super) fn note_panic() {
    with_own_slot(Slot::begin_unwinding);
}

/// Notes that the task of `slot` unwinds if the caller does: the caller is about to act for it.
pub(super) fn share_unwinding(slot: &Slot) {
    if with_own_slot(|own| own.has_flag(UNWINDING)) {
        slot.begin_unwinding();
    }
}

/// Calls `f`, which unwinds a stack and comes back.
pub(crate) fn while_unwinding(f: impl FnOnce()) {
    let within_another = with_own_slot(|slot| slot.has_flag(UNWINDING));
    let begun = with_own_slot(Unwinding::begin);
    f();
    if !within_another {
        with_own_slot(|slot| begun.end(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwinding_is_over_unless_a_later_one_has_begun_or_it_is_another_task_s() {
        let (task, other) = (Slot::of_thread(1), Slot::of_thread(2));
        let (first, elsewhere) = (Unwinding::begin(&task), Unwinding::begin(&other));
        elsewhere.end(&task);
        assert!(task.has_flag(UNWINDING));
        let second = Unwinding::begin(&task);
        first.end(&task);
        assert!(task.has_flag(UNWINDING));
        second.end(&task);
        assert!(!task.has_flag(UNWINDING) && other.has_flag(UNWINDING));
    }
}
