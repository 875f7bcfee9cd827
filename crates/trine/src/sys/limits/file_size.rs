//! Growing memory that is a file without ending the program.
//!
//! `RLIMIT_FSIZE` (`ulimit -f`) limits files without a name too. Beyond it the kernel returns
//! `EFBIG` and sends SIGXFSZ to the calling thread, which ends the program by default. What this
//! library makes for itself must not do so.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Calls `grow`, which may make a file larger. At the limit it returns the error, and no signal is
/// left.
///
/// # Errors
///
/// Those of `grow`.
pub(crate) fn without_signal<T>(grow: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let signal = only_xfsz();
    let blocked = Blocked::new(&signal);
    // One that the program has blocked and not taken yet is not ours to take.
    let had_one = blocked.before() && is_pending();
    let grown = grow();
    if !had_one && grown.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EFBIG)) {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: a valid set and time; the kernel writes no information to a null pointer. A
        // signal to this thread alone is pending, as it is blocked, so the call does not sleep.
        unsafe { libc::sigtimedwait(&raw const signal, ptr::null_mut(), &raw const now) };
    }
    grown
}

/// The mask from before SIGXFSZ was blocked for this thread; restored on drop.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn new(signal: &libc::sigset_t) -> Blocked {
        let mut before = MaybeUninit::uninit();
        // SAFETY: `before` is initialised by the first call, and filled by the second.
        unsafe {
            libc::sigemptyset(before.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, signal, before.as_mut_ptr());
            Blocked(before.assume_init())
        }
    }

    /// Returns true if the signal was blocked before.
    fn before(&self) -> bool {
        // SAFETY: a valid set.
        unsafe { libc::sigismember(&raw const self.0, libc::SIGXFSZ) == 1 }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: the mask that was in force before.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut());
        }
    }
}

fn only_xfsz() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGXFSZ);
        set.assume_init()
    }
}

fn is_pending() -> bool {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: the first call initialises the set, and the second fills it.
    unsafe {
        libc::sigemptyset(pending.as_mut_ptr());
        libc::sigpending(pending.as_mut_ptr());
        libc::sigismember(pending.as_ptr(), libc::SIGXFSZ) == 1
    }
}
