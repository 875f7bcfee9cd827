//! SIGINT and SIGQUIT, which a terminal sends to all processes of its foreground group (Ctrl-C,
//! Ctrl-\).
//!
//! A process that [outlasts](outlast) them has a handler that does nothing, and not `SIG_IGN`: a
//! program that the process starts later has the default action again.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;

use super::action;

const SIGNALS: [c_int; 2] = [libc::SIGINT, libc::SIGQUIT];

/// Returns the set of the two signals.
pub(in crate::sys) fn set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call fills the set, the others are given valid signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in SIGNALS {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Keeps both signals from ending this process and those forked from it, and unblocks them. A
/// signal that is ignored stays so.
pub(crate) fn outlast() {
    for signal in SIGNALS {
        if has_action(signal, libc::SIG_DFL) {
            let action = action::handled_by(handler, libc::SA_RESTART);
            // SAFETY: `handler` does only what a signal handler may.
            let _ = unsafe { action::exchange(signal, Some(&action)) };
        }
    }
    let set = set();
    // SAFETY: a valid set; the previous mask is not wanted.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, ptr::null_mut()) };
}

/// Restores the default action on those signals that this process outlasts.
pub(crate) fn obey() {
    for signal in SIGNALS {
        if has_action(signal, handler as *const () as usize) {
            action::restore_default(signal);
        }
    }
}

fn has_action(signal: c_int, handler: usize) -> bool {
    action::current(signal).is_ok_and(|current| current.sa_sigaction == handler)
}

/// Ends the process by a signal that it has sent to itself, as the default action does. Calls
/// nothing that is not async-signal-safe, and leaves `errno` as it was.
unsafe extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    let errno = action::errno();
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler installed with SA_SIGINFO. A
    // process has sent the signal if the code is not positive, and then its id is there.
    let is_own = unsafe { (*info).si_code <= 0 && (*info).si_pid() == libc::getpid() };
    // A handler that was installed later may call this one.
    if is_own && has_action(signal, handler as *const () as usize) {
        action::restore_default(signal);
        action::raise_in_handler(signal);
    }
    action::set_errno(errno);
}
