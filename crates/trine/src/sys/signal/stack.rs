//! Alternate signal stacks: the memory that handlers run on.
//!
//! ```text
//!   low                                                            high
//!   ┌───────┬──────────┬──────────┬──────────┬──────────┬────────────────┐
//!   │ guard │    …     │ SIGABRT  │ SIGBUS   │ SIGSEGV  │ any other      │
//!   └───────┴──────────┴──────────┴──────────┴──────────┴────────────────┘
//!              abort in it ◄ a fault in it ◄ a fault in it ◄ the first handler
//! ```
//!
//! Every handler of the library blocks all signals but those of faults while it runs
//! ([`action`](super::action)), so no more than these four lie on one another. The kernel saves
//! the registers in front of each: some KiB, which depend on the processor and which the kernel
//! reports (`AT_MINSIGSTKSZ`).
//!
//! std gives each of its threads 8 KiB. That is enough for one handler of ours. It is not enough
//! for the report of an overflow on a processor with large registers, or for the handlers of other
//! code that ours calls. So threads that run coroutines, and those that run tasks for long, get
//! more.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

use crate::sys::memory::stacks::{Guard, Region, guard_markers_work};

/// The bytes for the handlers themselves and those from before that they call. Ours use less than
/// 2 KiB each in a debug build.
const FOR_HANDLERS: usize = 48 * 1024;
/// The handlers that may lie on one another.
const DEEPEST: usize = 4;
/// The least size of a frame of the kernel where it does not report it: with AVX-512, 3.4 KiB.
const LEAST_FRAME: usize = 4096;

thread_local! {
    /// The stack that [`ensure`] gave to the calling thread.
    static OWN: RefCell<Option<Own>> = const { RefCell::new(None) };
}

/// An alternate stack in use by its thread.
struct Own {
    _region: Region,
    /// The lowest address of the stack, above the guard.
    lowest: usize,
}

impl Drop for Own {
    /// Ends the use of the stack, at the end of the thread, before its memory is unmapped.
    fn drop(&mut self) {
        let is_ours = current().is_ok_and(|stack| stack.ss_sp as usize == self.lowest);
        if is_ours {
            let none =
                libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
            // SAFETY: without an alternate stack, handlers run on the thread's own. std has given
            // up its alternate stack by now, or does so later by the address that it knows.
            unsafe { libc::sigaltstack(&raw const none, ptr::null_mut()) };
        }
    }
}

/// Gives the calling thread an alternate signal stack on which all handlers have room, unless it
/// has one. Without memory for it the thread keeps what it has.
pub(crate) fn ensure() {
    let Ok(old) = current() else { return };
    let none = old.ss_flags & libc::SS_DISABLE != 0;
    // The address sanitizer unmaps whatever stack a thread has at its end.
    if !none && (old.ss_size >= size() || cfg!(feature = "sanitizer")) {
        return;
    }
    let page = crate::sys::page_size();
    let Ok(mut region) = Region::reserve(size() + page) else { return };
    let guard = if guard_markers_work() { Guard::Marker } else { Guard::Mprotect };
    // Without a guard, as std's and most others are, where mappings are short.
    let _ = region.guard(0, page, guard);
    let lowest = region.base() + page;
    let new = libc::stack_t { ss_sp: lowest as *mut _, ss_flags: 0, ss_size: size() };
    let _ = OWN.try_with(|own| {
        // SAFETY: the memory is mapped until `Own` is dropped, which ends its use before, and
        // nothing else uses it.
        if unsafe { libc::sigaltstack(&raw const new, ptr::null_mut()) } == 0 {
            own.replace(Some(Own { _region: region, lowest }));
        }
    });
}

/// Returns the calling thread's alternate stack.
fn current() -> io::Result<libc::stack_t> {
    let mut current = MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: only reads the setting; `current` is large enough and written if the call succeeds.
    unsafe {
        match libc::sigaltstack(ptr::null(), current.as_mut_ptr()) {
            0 => Ok(current.assume_init()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Returns the size of an alternate stack on which the deepest handlers have room.
fn size() -> usize {
    // SAFETY: the call reads a table that the kernel gave to the process.
    let frame = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    let size = DEEPEST * frame.max(LEAST_FRAME) + FOR_HANDLERS;
    size.next_multiple_of(crate::sys::page_size())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_thread_gets_an_alternate_stack_with_room_and_gives_it_back_at_its_end() {
        const THREADS: usize = 100;
        let one = || {
            ensure();
            let first = current().unwrap();
            assert!(first.ss_size >= size() && first.ss_flags == 0);
            ensure();
            assert_eq!(current().unwrap().ss_sp, first.ss_sp);
            first.ss_sp as usize
        };
        let places = (0..THREADS).map(|_| std::thread::spawn(one).join().unwrap());
        // The kernel gives memory that was given back to a later thread.
        assert!(places.collect::<BTreeSet<_>>().len() < THREADS);
    }
}
