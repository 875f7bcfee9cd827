//! Blocking and ignoring signals.

use std::mem::MaybeUninit;
use std::ptr;

/// Keeps every signal blocked for the calling thread and those that it starts; restores the mask on
/// drop.
pub(crate) struct SignalsBlocked(libc::sigset_t);

/// Blocks every signal for the calling thread until the returned value is dropped.
pub(crate) fn block_signals() -> SignalsBlocked {
    let mut all = MaybeUninit::uninit();
    let mut old = MaybeUninit::uninit();
    // SAFETY: `all` is filled before its use; `old` is filled by the second call, which cannot fail
    // with a valid first argument.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigemptyset(old.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), old.as_mut_ptr());
        SignalsBlocked(old.assume_init())
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the mask that was in force before.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut());
        }
    }
}

/// Makes a write to a closed pipe fail instead of ending the process, as std does before `main`.
pub(crate) fn ignore_broken_pipes() {
    // SAFETY: ignoring a signal installs no code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
