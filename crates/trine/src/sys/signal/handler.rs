//! Receiving signals: a handler that notes them, and the action from before.
//!
//! ```text
//!   any thread, anywhere                     the thread that delivers signals to listeners
//!   ────────────────────                     ─────────────────────────────────────────────
//!   handler: bit of the signal into NOTED,   sleeps until the bell rings
//!            ring the bell,           ─────► takes all bits
//!            call the handler from before
//! ```
//!
//! The handler runs on the alternate stack of its thread if there is one, as a coroutine's stack
//! may have no room for the kernel's frame (`SA_ONSTACK`). If it calls a handler from before, it
//! runs on the stack that this handler was installed for, which may need more than an alternate
//! stack has. Other signals wait meanwhile: three that came at once would fill the alternate stack
//! of a thread of std. So a handler from before must return; after a `longjmp` out of it, all
//! signals stay blocked on that thread. System calls continue after it (`SA_RESTART`).
//!
//! The action from before is restored only while the present action is ours. If another library has
//! put its handler above ours, ours stays below it permanently: that handler calls ours, and
//! installing ours above it again would be an endless circle.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};
use std::sync::{Mutex, PoisonError};

use super::action;
use crate::sys::io::poll::Bell;

/// The highest signal number; the lowest is 1.
pub(crate) const LAST: i32 = 64;

/// The signals that came and were not taken: bit `n - 1` is signal `n`.
static NOTED: AtomicU64 = AtomicU64::new(0);

/// The bell that the handler rings. Never freed; null before the first [`listen`].
static BELL: AtomicPtr<Bell> = AtomicPtr::new(ptr::null_mut());

/// The addresses of the handlers from before, which our handler calls; 0 for none.
static BEFORE: [AtomicUsize; LAST as usize] = [const { AtomicUsize::new(0) }; LAST as usize];

/// The actions to be restored, from [`listen`] to [`unlisten`].
static REPLACED: Mutex<[Option<libc::sigaction>; LAST as usize]> =
    Mutex::new([const { None }; LAST as usize]);

/// Has the handler ring `bell`. Called before the first [`listen`].
pub(crate) fn set_bell(bell: &'static Bell) {
    BELL.store(ptr::from_ref(bell).cast_mut(), Release);
}

/// Takes the signals that came.
pub(crate) fn take() -> u64 {
    NOTED.swap(0, Acquire)
}

/// Returns the bit of a signal.
pub(crate) fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Returns true if the C library or the kernel keeps the signal to itself.
pub(crate) fn is_reserved(signal: i32) -> bool {
    !(1..=LAST).contains(&signal) || (32..libc::SIGRTMIN()).contains(&signal)
}

/// Returns the reason why an existing signal cannot be listened for; `None` if it can.
pub(crate) fn refusal(signal: i32) -> Option<&'static str> {
    match signal {
        libc::SIGKILL | libc::SIGSTOP => Some("the kernel does not let a program catch it"),
        libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE => {
            Some("it says that the running thread has gone wrong and cannot go on")
        }
        libc::SIGURG => Some("trine uses it to look at coroutines that hold their carrier"),
        libc::SIGTERM if super::sigterm::is_installed() => {
            Some("in a process task it is how trine says that the task was cancelled")
        }
        _ => None,
    }
}

/// Notes the signal from now on, instead of the action from before.
pub(crate) fn listen(signal: i32) -> io::Result<()> {
    let place = place(signal);
    let mut replaced = REPLACED.lock().unwrap_or_else(PoisonError::into_inner);
    let current = action::current(signal)?;
    let is_function = !matches!(current.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN);
    if is_ours(&current) || (replaced[place].is_some() && is_function) {
        // Ours, restored by code that had replaced it; or a handler that was put above ours.
        return Ok(());
    }
    // Before our handler can run.
    BEFORE[place].store(if is_function { current.sa_sigaction } else { 0 }, Release);
    let mut action = action::handled_by(handler, libc::SA_RESTART);
    if is_function && current.sa_flags & libc::SA_ONSTACK == 0 {
        action.sa_flags &= !libc::SA_ONSTACK;
    }
    // SAFETY: `handler` does only what a signal handler may.
    unsafe { action::exchange(signal, Some(&action)) }?;
    replaced[place] = Some(current);
    Ok(())
}

/// Restores the action from before [`listen`].
pub(crate) fn unlisten(signal: i32) {
    let place = place(signal);
    let mut replaced = REPLACED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_ours = action::current(signal).is_ok_and(|current| is_ours(&current));
    if is_ours && let Some(before) = replaced[place].take() {
        // SAFETY: other code had set it.
        let _ = unsafe { action::exchange(signal, Some(&before)) };
    }
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == handler as *const () as usize
}

fn place(signal: i32) -> usize {
    usize::try_from(signal - 1).expect("a signal's number is checked before")
}

/// Calls nothing that is not async-signal-safe, and leaves `errno` as it was.
unsafe extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = action::errno();
    NOTED.fetch_or(bit(signal), Release);
    // SAFETY: null or never freed.
    if let Some(bell) = unsafe { BELL.load(Acquire).as_ref() } {
        bell.ring();
    }
    let before = BEFORE[place(signal)].load(Acquire);
    if before != 0 {
        // SAFETY: it was installed as a handler. A handler installed without SA_SIGINFO takes one
        // argument; it gets all three, as from the kernel, and finds its own in the first register.
        unsafe {
            let before: action::Handler = mem::transmute(before);
            before(signal, info, context);
        }
    }
    action::set_errno(errno);
}
