//! Destructors that an unwinding runs, and other callers, found on the calling thread's stack.
//!
//! A second unwinding out of such a destructor aborts the program. The compiler has written that
//! into the tables by which the runtime unwinds, and they are read here as the runtime reads them:
//!
//! ```text
//!   frame              entry of its present call    an unwinding from the innermost frame
//!   ─────              ─────────────────────────    ─────────────────────────────────────
//!   the wait           cleanup, or none             passes
//!   a destructor       cleanup, or none             passes
//!   f, unwinding       filter                       aborts: "panic in a destructor"
//!   catch_unwind       catch                        would have ended
//!   base of the stack
//! ```
//!
//! std's own count of panics is one for each thread, and the coroutines of a thread share it. A
//! panic hook would see each panic begin, but the program can replace it. The stack of a coroutine
//! is its own.
//!
//! The frame that switches to a generator's stack does so by inline assembly. That has no entry of
//! its own: none, or by chance that of a call nearby. An unwinding does not come from there: it is
//! caught at the base of the generator's stack, and begins again at the next call of that frame. So
//! the frame passes, and the frames outside of it count. It is known by the mark for frames that
//! signals have interrupted, which corosensei sets, too. Nothing that runs because of an unwinding
//! has the switch inlined: `coroutine/generator.rs` keeps it in functions of its own.
//!
//! The tables are those of the Itanium C++ ABI, with the encodings that LLVM writes. A table that
//! cannot be read counts as one that aborts.

use std::ffi::{c_int, c_void};

/// The unwinder's view of a frame.
#[repr(C)]
struct Context {
    _opaque: [u8; 0],
}

const CONTINUE: c_int = 0;
const STOP: c_int = 4;

// The unwinder that std is linked with. None of these unwinds; a call declared so has no entry in
// the table of its frame, which would count as one that aborts.
unsafe extern "C-unwind" {
    fn _Unwind_Backtrace(
        trace: extern "C" fn(*mut Context, *mut c_void) -> c_int,
        data: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut Context, is_before_instruction: *mut c_int) -> usize;
    fn _Unwind_GetRegionStart(context: *mut Context) -> usize;
    fn _Unwind_GetLanguageSpecificData(context: *mut Context) -> *const u8;
}

/// The findings of a walk.
struct Walk {
    /// The function at the base of the stack, at which the walk ends.
    base: usize,
    /// A frame that would abort was passed.
    aborts: bool,
    /// Such a frame is inside of one that catches, so an unwinding may be on its way between them.
    found: bool,
}

/// Returns true if a destructor of the calling stack runs because of an unwinding, or an unwinding
/// from here would abort for another reason. The stack ends at the frame of `base`, if that is on
/// it.
#[cold]
#[inline(never)]
pub(crate) fn is_running(base: *const ()) -> bool {
    let mut walk = Walk { base: base.addr(), aborts: false, found: false };
    // SAFETY: `visit` gets the pointer to `walk` back, and only during the call.
    unsafe { _Unwind_Backtrace(visit, (&raw mut walk).cast()) };
    walk.found
}

/// Returns true if the caller was called, at any depth, by `function`, which is not inlined.
#[cold]
pub(crate) fn is_called_by(function: *const ()) -> bool {
    extern "C" fn compare(context: *mut Context, data: *mut c_void) -> c_int {
        // SAFETY: `is_called_by` has passed it; the unwinder passes a context that is valid for
        // this call.
        let (wanted, start) =
            unsafe { (&mut *data.cast::<usize>(), _Unwind_GetRegionStart(context)) };
        if start != *wanted {
            return CONTINUE;
        }
        *wanted = 0;
        STOP
    }
    let mut wanted = function.addr();
    // SAFETY: `compare` gets the pointer to `wanted` back, and only during the call.
    unsafe { _Unwind_Backtrace(compare, (&raw mut wanted).cast()) };
    wanted == 0
}

extern "C" fn visit(context: *mut Context, data: *mut c_void) -> c_int {
    // SAFETY: `is_running` has passed it, and does not touch it meanwhile.
    let walk = unsafe { &mut *data.cast::<Walk>() };
    let mut is_before = 0;
    // SAFETY: the unwinder passes a context that is valid for this call.
    let (start, address, table) = unsafe {
        (
            _Unwind_GetRegionStart(context),
            _Unwind_GetIPInfo(context, &raw mut is_before),
            _Unwind_GetLanguageSpecificData(context),
        )
    };
    if start == walk.base {
        // The task's own frame has caught by here, maybe in one with the function.
        walk.found = walk.aborts;
        return STOP;
    }
    if is_before != 0 {
        // A switch to another stack.
        return CONTINUE;
    }
    // The address is that behind the call.
    let address = address.wrapping_sub(1);
    let (action, catches) = match table.is_null() {
        true => (Action::Pass, false),
        // SAFETY: the table that the compiler has written for this frame's function.
        false => unsafe { action(table, start, address) },
    };
    match action {
        Action::Pass => {}
        // Inlined into the function that catches.
        Action::Abort if catches => {
            walk.found = true;
            return STOP;
        }
        Action::Abort => walk.aborts = true,
        Action::Catch if walk.aborts => {
            walk.found = true;
            return STOP;
        }
        Action::Catch => {}
    }
    CONTINUE
}

/// The effect of a frame on an unwinding from a call of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// It goes on to the caller, after the destructors of the frame.
    Pass,
    /// It ends here.
    Catch,
    /// It aborts the program.
    Abort,
}

const OMITTED: u8 = 0xff;

/// Reads the action for the call at `address` of the function at `start` from its table, and
/// whether the function catches the unwindings of any call.
///
/// # Safety
///
/// `table` is the language-specific data of that function.
unsafe fn action(table: *const u8, start: usize, address: usize) -> (Action, bool) {
    let mut header = Reader(table);
    // A call without an entry is one that the compiler takes for one that never unwinds.
    let (mut found, mut catches) = (Action::Abort, false);
    // SAFETY: the fields of the header and the entries, in the order of the ABI; the length says
    // where the entries end.
    unsafe {
        if header.byte() != OMITTED {
            return (Action::Abort, true);
        }
        if header.byte() != OMITTED {
            header.unsigned();
        }
        let encoding = header.byte();
        let length = header.unsigned();
        let mut entries = Reader(header.0);
        let actions = header.0.add(length);
        while entries.0 < actions {
            let numbers = [(); 3].map(|()| entries.encoded(encoding));
            let [Some(begin), Some(size), Some(landing)] = numbers else {
                return (Action::Abort, true);
            };
            let action = match (landing, entries.unsigned()) {
                (0, _) | (_, 0) => Action::Pass,
                (_, record) => chain(actions.add(record - 1)),
            };
            catches |= action == Action::Catch;
            if (begin..begin.wrapping_add(size)).contains(&address.wrapping_sub(start)) {
                found = action;
            }
        }
    }
    (found, catches)
}

/// Reads a chain of action records: 0 is a cleanup, a positive number a catch, a negative one a
/// filter, which Rust uses for "nothing may pass".
///
/// # Safety
///
/// `record` points to an action record of a table.
unsafe fn chain(record: *const u8) -> Action {
    let mut reader = Reader(record);
    let mut found = Action::Pass;
    loop {
        // SAFETY: a record is two numbers; the second is the distance of the next record from
        // itself, 0 for none.
        let (kind, next, at) = unsafe {
            let kind = reader.signed();
            let at = reader.0;
            (kind, reader.signed(), at)
        };
        match kind {
            0 => {}
            1.. => found = Action::Catch,
            _ => return Action::Abort,
        }
        if next == 0 {
            return found;
        }
        reader = Reader(at.wrapping_offset(next));
    }
}

/// Reads the numbers of a table.
struct Reader(*const u8);

impl Reader {
    /// # Safety
    ///
    /// A byte of the table is left; the same for the other calls, with the bytes of their numbers.
    unsafe fn byte(&mut self) -> u8 {
        // SAFETY: the caller's promise.
        unsafe {
            let byte = *self.0;
            self.0 = self.0.add(1);
            byte
        }
    }

    unsafe fn unsigned(&mut self) -> usize {
        let (mut number, mut shift) = (0, 0);
        loop {
            // SAFETY: the caller's promise.
            let byte = unsafe { self.byte() };
            number |= usize::from(byte & 0x7f).unbounded_shl(shift);
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }

    unsafe fn signed(&mut self) -> isize {
        let (mut number, mut shift) = (0_isize, 0);
        loop {
            // SAFETY: the caller's promise.
            let byte = unsafe { self.byte() };
            number |= isize::from(byte & 0x7f).unbounded_shl(shift);
            shift += 7;
            if byte & 0x80 == 0 {
                let sign = if byte & 0x40 == 0 { 0 } else { (-1_isize).unbounded_shl(shift) };
                return number | sign;
            }
        }
    }

    /// Reads a number of a call-site entry; `None` in an encoding that LLVM does not use.
    unsafe fn encoded(&mut self, encoding: u8) -> Option<usize> {
        const UNSIGNED: u8 = 0x01;
        const FOUR_BYTES: u8 = 0x03;
        match encoding {
            // SAFETY: the caller's promise.
            UNSIGNED => Some(unsafe { self.unsigned() }),
            FOUR_BYTES => {
                // SAFETY: the caller's promise.
                let bytes = [(); 4].map(|()| unsafe { self.byte() });
                Some(u32::from_le_bytes(bytes) as usize)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::panic::{catch_unwind, panic_any, resume_unwind};
    use std::ptr;

    /// Looks whether an unwinding is under way when it is dropped.
    struct Looks<'a>(&'a Cell<Option<bool>>);

    impl Drop for Looks<'_> {
        fn drop(&mut self) {
            self.0.set(Some(is_running(ptr::null())));
        }
    }

    fn seen(unwinds: impl FnOnce()) -> Option<bool> {
        let seen = Cell::new(None);
        let _ = catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _looks = Looks(&seen);
            unwinds();
        }));
        seen.get()
    }

    #[test]
    fn a_destructor_is_known_to_run_because_of_an_unwinding_however_that_began() {
        assert_eq!(seen(|| ()), Some(false));
        assert_eq!(seen(|| panic_any(1)), Some(true));
        assert_eq!(seen(|| resume_unwind(Box::new(1))), Some(true));
        // A panic that is over.
        assert_eq!(seen(|| drop(catch_unwind(|| panic_any(1)))), Some(false));
    }

    #[test]
    fn what_a_destructor_catches_hides_no_unwinding_around_it() {
        struct Catches<'a>(&'a Cell<Option<bool>>);
        impl Drop for Catches<'_> {
            fn drop(&mut self) {
                self.0.set(seen(|| ()));
            }
        }
        let found = Cell::new(None);
        let _ = catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _catches = Catches(&found);
            panic_any(1);
        }));
        assert_eq!(found.get(), Some(true));
    }

    #[test]
    fn a_function_that_nothing_may_unwind_through_counts_and_the_walk_ends_at_the_base() {
        extern "C" fn callback(seen: &Cell<Option<bool>>) {
            seen.set(Some(is_running(ptr::null())));
            std::hint::black_box(());
        }
        #[inline(never)]
        fn base(seen: &Cell<Option<bool>>) {
            seen.set(Some(is_running(base as fn(&Cell<Option<bool>>) as *const ())));
            std::hint::black_box(());
        }
        let seen = Cell::new(None);
        callback(&seen);
        assert_eq!(seen.get(), Some(true));
        struct Calls<'a>(&'a Cell<Option<bool>>);
        impl Drop for Calls<'_> {
            fn drop(&mut self) {
                base(self.0);
            }
        }
        let _ = catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _calls = Calls(&seen);
            panic_any(1);
        }));
        assert_eq!(seen.get(), Some(false));
    }
}
