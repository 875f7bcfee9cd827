//! Hearing of signals: the handler, and the action that was there before.
//!
//! ```text
//!   any thread, anywhere                     whoever passes them on
//!   ────────────────────                     ──────────────────────
//!   handler: bit of the signal into NOTED,   sleeps for the bell
//!            ring the bell,           ─────► takes all bits
//!            call the handler from before
//! ```
//!
//! The handler runs on the alternate stack of its thread if there is one: a coroutine's stack may have no room
//! for the kernel's frame (`SA_ONSTACK`). System calls go on after it (`SA_RESTART`).
//!
//! An action is taken back only as long as it is ours. Where another library has put its handler over ours,
//! ours stays below it for good: the other one calls it, and to go above it again would be a circle.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize};
use std::sync::{Mutex, PoisonError};

use crate::sys::io::poll::Bell;

/// Signals are numbered from 1 to this.
pub(crate) const LAST: i32 = 64;

/// Those that came and were not taken: bit `n - 1` is signal `n`.
static NOTED: AtomicU64 = AtomicU64::new(0);

/// Rung by the handler. Never freed; null before the first [`listen`].
static BELL: AtomicPtr<Bell> = AtomicPtr::new(ptr::null_mut());

/// What our handler calls in turn: the address of the handler from before, 0 for none.
static BEFORE: [AtomicUsize; LAST as usize] = [const { AtomicUsize::new(0) }; LAST as usize];

/// The actions to be put back, from [`listen`] to [`unlisten`].
static REPLACED: Mutex<[Option<libc::sigaction>; LAST as usize]> =
    Mutex::new([const { None }; LAST as usize]);

/// Has `bell` rung from the first signal on. Before the first [`listen`].
pub(crate) fn ring(bell: &'static Bell) {
    BELL.store(ptr::from_ref(bell).cast_mut(), Release);
}

/// Takes the signals that came.
pub(crate) fn take() -> u64 {
    NOTED.swap(0, Acquire)
}

/// The bit of a signal.
pub(crate) fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Whether the C library or the kernel keeps the signal to itself.
pub(crate) fn is_reserved(signal: i32) -> bool {
    !(1..=LAST).contains(&signal) || (32..libc::SIGRTMIN()).contains(&signal)
}

/// Why no listener can have a signal that there is; `None` if it can.
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

/// Notes the signal from now on, instead of what was done on it before.
pub(crate) fn listen(signal: i32) -> io::Result<()> {
    let place = place(signal);
    let mut replaced = REPLACED.lock().unwrap_or_else(PoisonError::into_inner);
    let current = exchange(signal, None)?;
    let is_function = !matches!(current.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN);
    let is_ours = current.sa_sigaction == handler as *const () as usize;
    if is_ours || (replaced[place].is_some() && is_function) {
        // Put back by somebody who had replaced it, or below somebody's.
        return Ok(());
    }
    // Before the first run of ours.
    BEFORE[place].store(if is_function { current.sa_sigaction } else { 0 }, Release);
    exchange(signal, Some(&ours()))?;
    replaced[place] = Some(current);
    Ok(())
}

/// Puts back what was done on the signal before [`listen`].
pub(crate) fn unlisten(signal: i32) {
    let place = place(signal);
    let mut replaced = REPLACED.lock().unwrap_or_else(PoisonError::into_inner);
    let is_ours = exchange(signal, None)
        .is_ok_and(|current| current.sa_sigaction == handler as *const () as usize);
    if is_ours && let Some(before) = replaced[place].take() {
        let _ = exchange(signal, Some(&before));
    }
}

fn place(signal: i32) -> usize {
    usize::try_from(signal - 1).expect("a signal's number is checked before")
}

fn ours() -> libc::sigaction {
    // SAFETY: all-zero is a valid `sigaction`: no handler, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    action
}

fn exchange(signal: c_int, new: Option<&libc::sigaction>) -> io::Result<libc::sigaction> {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: both pointers are valid, or null as the call wants; what is set is `handler`, which does only
    // what a signal handler may, or what somebody else had set.
    match unsafe { libc::sigaction(signal, new, old.as_mut_ptr()) } {
        // SAFETY: filled by the call; all-zero before.
        0 => Ok(unsafe { old.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Calls nothing that is not async-signal-safe, and leaves `errno` as it was.
unsafe extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the address of the thread's own `errno` is always valid.
    let errno = unsafe { *libc::__errno_location() };
    NOTED.fetch_or(bit(signal), Release);
    // SAFETY: null or never freed.
    if let Some(bell) = unsafe { BELL.load(Acquire).as_ref() } {
        bell.ring();
    }
    let before = BEFORE[place(signal)].load(Acquire);
    if before != 0 {
        // SAFETY: it was installed as a handler. One that was installed without SA_SIGINFO takes one
        // argument; it gets all three, as from the kernel, and finds its own in the first register.
        unsafe {
            let before: unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                mem::transmute(before);
            before(signal, info, context);
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}
