//! SIGSEGV and SIGBUS: recognising a stack overflow, and aborting as std does.
//!
//! std installs a handler on an alternate stack for its own threads. Ours runs before it, acts only
//! on addresses that an [`Explain`] claims, and leaves every other fault to the handler from
//! before. That is called with the signals blocked that it would have blocked itself: runtimes of
//! other languages leave such a handler by `longjmp`, and go on with the same mask.

use std::ffi::{c_int, c_void};
use std::sync::{Once, OnceLock};

use super::action;

/// Explains a fault of the calling thread at `address`. Returns true if it has printed the reason,
/// and the program is to abort.
///
/// Runs in a signal handler: it may not allocate, lock or unwind.
pub(crate) type Explain = fn(address: usize) -> bool;

/// The explaining functions, in the order of [`install`]: one place for each kind of stack.
static EXPLAIN: [OnceLock<Explain>; 4] = [const { OnceLock::new() }; 4];
static PREVIOUS: OnceLock<[libc::sigaction; 2]> = OnceLock::new();
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Has `explain` called at every fault; a second call with the same function changes nothing.
pub(crate) fn install(explain: Explain) {
    static ONCE: Once = Once::new();
    let is_this =
        |place: &OnceLock<Explain>| *place.get_or_init(|| explain) as usize == explain as usize;
    assert!(EXPLAIN.iter().any(is_this), "more kinds of stacks than places");
    ONCE.call_once(|| {
        // Both old actions must be known before the first of our handlers can run.
        let previous = SIGNALS.map(|signal| action::current(signal).expect("they can be read"));
        PREVIOUS.set(previous).unwrap_or_else(|_| unreachable!("set only here"));
        for signal in SIGNALS {
            let action = action::handled_by(handler, 0);
            // SAFETY: `handler` does only what a signal handler may.
            let _ = unsafe { action::exchange(signal, Some(&action)) };
        }
    });
}

unsafe extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid `info` to a handler installed with SA_SIGINFO.
    let (address, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    // A positive code is a real fault; signals that a process has sent carry no address.
    let is_explained =
        |place: &OnceLock<Explain>| place.get().is_some_and(|explain| explain(address));
    if code > 0 && EXPLAIN.iter().any(is_explained) {
        // SAFETY: `abort` may be called from a signal handler (POSIX.1-2001 and later).
        unsafe { libc::abort() };
    }
    let index = usize::from(signal != libc::SIGSEGV);
    let Some(previous) = PREVIOUS.get().map(|all| &all[index]) else { return };
    match previous.sa_sigaction {
        // A sent signal is ignored as before; a real fault cannot be ignored.
        libc::SIG_IGN if code <= 0 => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // Restores the default and returns: the same instruction faults again and ends the
            // process. A sent signal does not come again by itself, so this raises it.
            action::restore_default(signal);
            if code <= 0 {
                action::raise_in_handler(signal);
            }
        }
        function if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the code that installed it with SA_SIGINFO promised this signature.
            let function: action::Handler = unsafe { std::mem::transmute(function) };
            // SAFETY: called as the kernel would, with the kernel's own arguments.
            unsafe {
                action::mask_as_for(previous, signal, context);
                function(signal, info, context);
            }
        }
        function => {
            // SAFETY: the code that installed it without SA_SIGINFO promised this signature.
            let function: unsafe extern "C" fn(c_int) = unsafe { std::mem::transmute(function) };
            // SAFETY: called as the kernel would.
            unsafe {
                action::mask_as_for(previous, signal, context);
                function(signal);
            }
        }
    }
}
