//! Functions that run before the tasks: `preload` in a template, `initializer` in each worker.
//!
//! Like a task's function, such a function crosses as the offset of code that both processes have;
//! see `function.rs`.

use std::panic::{self, AssertUnwindSafe, Location};
use std::process;

use serde::{Deserialize, Serialize};

use super::function;
use crate::sys::process::image;
use crate::task::registry::{self, Entry};
use crate::task::{Kind, failure, slot};

/// A function without argument and result, in the form that crosses.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::process) struct Hook {
    offset: u64,
    /// The offset of the call that gave it to a pool, if that is in the program's image: for
    /// messages.
    location: Option<u64>,
}

/// Compares the function only.
impl PartialEq for Hook {
    fn eq(&self, other: &Hook) -> bool {
        self.offset == other.offset
    }
}

impl Eq for Hook {}

impl Hook {
    /// Returns the hook for a function. One outside of the program's code fails when it is run.
    #[track_caller]
    pub(in crate::process) fn of(function: fn()) -> Hook {
        let offset = (function as usize).wrapping_sub(image::base()) as u64;
        Hook { offset, location: function::location_offset(Location::caller()) }
    }

    /// Calls the function, in a task named `role`.
    ///
    /// # Errors
    ///
    /// The function panicked; the text has the message and the place.
    ///
    /// # Safety
    ///
    /// It was made by [`of`](Hook::of) in a process that runs the same build.
    pub(in crate::process) unsafe fn run(self, role: &'static str) -> Result<(), String> {
        let address =
            usize::try_from(self.offset).ok().and_then(|offset| image::base().checked_add(offset));
        let Some(address) = address.filter(|address| image::is_code(*address)) else {
            return Err(format!("{role} is not a function of this program"));
        };
        // SAFETY: the caller's promise: a function of this type is at this offset of the same
        // build.
        let function = unsafe { std::mem::transmute::<usize, fn()>(address) };
        // SAFETY: as above: made by `of` of the same build.
        let location = self.location.and_then(|offset| unsafe { function::location_at(offset) });
        let location = location.unwrap_or_else(|| Location::caller());
        let entry = Entry::new(Kind::Process, Some(role.into()), location);
        entry.slot.set_os_id(process::id());
        entry.slot.set_state(slot::RUNNABLE);
        registry::set_current(Some(entry.slot));
        let outcome = failure::catch(|| entry.slot.info(), function);
        registry::set_current(None);
        let Err(error) = outcome else { return Ok(()) };
        let reason = format!("{role} {}", error.cause());
        // A payload whose drop panics is forgotten.
        if let Err(again) = panic::catch_unwind(AssertUnwindSafe(|| drop(error))) {
            std::mem::forget(again);
        }
        Err(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    static CALLS: AtomicU32 = AtomicU32::new(0);

    #[test]
    fn a_hook_is_found_again_and_called() {
        fn count() {
            CALLS.fetch_add(1, Relaxed);
        }
        failure::install_hook();
        // SAFETY: made in this very process, as below.
        unsafe { Hook::of(count).run("initializer") }.unwrap();
        assert_eq!(CALLS.load(Relaxed), 1);
        // SAFETY: as above.
        let reason = unsafe { Hook::of(|| panic!("no")).run("preload") }.unwrap_err();
        assert!(reason.starts_with("preload panicked at ") && reason.ends_with(": no"), "{reason}");
        // SAFETY: never called, as it is refused.
        unsafe { Hook { offset: u64::MAX, location: None }.run("preload") }.unwrap_err();
    }
}
