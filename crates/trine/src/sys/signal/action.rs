//! The action of a process on a signal (`sigaction`), and `errno` in a handler.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// A signal handler. The kernel passes a valid `siginfo_t` and the context that was interrupted, a
/// `ucontext_t`.
pub(super) type Handler = unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

/// The signals that a fault of the running code raises. The kernel ends a process that blocks one
/// of them when it comes, so the program's own handlers of them must run at any time.
const OF_FAULTS: [c_int; 6] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS];

/// Returns the action that calls `handler`, on the alternate stack of the thread if there is one.
///
/// All signals but those of faults are blocked while the handler runs. Handlers would otherwise lie
/// on one another, and a few of the kernel's frames fill the alternate stack of a thread of std.
pub(super) fn handled_by(handler: Handler, more_flags: c_int) -> libc::sigaction {
    let mut action = default();
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | more_flags;
    // SAFETY: `sa_mask` is a valid set, and the numbers are those of signals.
    unsafe {
        libc::sigfillset(&raw mut action.sa_mask);
        for signal in OF_FAULTS {
            libc::sigdelset(&raw mut action.sa_mask, signal);
        }
    }
    action
}

/// Returns the default action.
fn default() -> libc::sigaction {
    // SAFETY: all-zero is a valid `sigaction`: SIG_DFL, no flags, an empty mask.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Returns the action on `signal`.
pub(super) fn current(signal: c_int) -> io::Result<libc::sigaction> {
    // SAFETY: sets nothing.
    unsafe { exchange(signal, None) }
}

/// Sets the action on `signal` to `new`, if given, and returns the action from before.
///
/// # Safety
///
/// A handler in `new` does only what a signal handler may, or was set before by other code.
pub(super) unsafe fn exchange(
    signal: c_int,
    new: Option<&libc::sigaction>,
) -> io::Result<libc::sigaction> {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: both pointers are valid, or null as the call wants; the rest is the caller's promise.
    match unsafe { libc::sigaction(signal, new, old.as_mut_ptr()) } {
        // SAFETY: filled by the call; all-zero before.
        0 => Ok(unsafe { old.assume_init() }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets the mask of the calling thread to that in which the kernel would call the handler of
/// `action`: the mask of the interrupted code, and the signals that the action blocks. A handler
/// that leaves by `longjmp` keeps it.
///
/// # Safety
///
/// Called in a handler of `signal`, which the kernel has given this `context`.
pub(super) unsafe fn mask_as_for(action: &libc::sigaction, signal: c_int, context: *mut c_void) {
    /// The kernel's size of a set, of which the C library's is longer.
    const BYTES: usize = size_of::<u64>();
    let own = if action.sa_flags & libc::SA_NODEFER == 0 { 1_u64 << (signal - 1) } else { 0 };
    // SAFETY: both sets begin with the kernel's, and the context is valid. The call reads a set and
    // changes the mask of this thread alone; the kernel restores it when our handler returns.
    unsafe {
        let interrupted = &raw const (*context.cast::<libc::ucontext_t>()).uc_sigmask;
        let blocked = (&raw const action.sa_mask).cast::<u64>();
        let mask = interrupted.cast::<u64>().read() | blocked.read() | own;
        let (set, old) = (&raw const mask, ptr::null_mut::<u64>());
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, set, old, BYTES);
    }
}

/// Restores the default action on `signal`. May be called from a signal handler.
pub(super) fn restore_default(signal: c_int) {
    // SAFETY: the default action has no handler.
    let _ = unsafe { exchange(signal, Some(&default())) };
}

/// Sends `signal` to the calling thread. Its handler calls this: the signal is blocked until the
/// handler returns, and arrives then.
pub(super) fn raise_in_handler(signal: c_int) {
    // SAFETY: `raise` may be called from a signal handler, and touches no memory of ours.
    unsafe { libc::raise(signal) };
}

/// Returns the calling thread's `errno`. May be called from a signal handler.
pub(super) fn errno() -> c_int {
    // SAFETY: the address of the thread's own `errno` is always valid.
    unsafe { *libc::__errno_location() }
}

/// Sets the calling thread's `errno`. May be called from a signal handler.
pub(super) fn set_errno(errno: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}
