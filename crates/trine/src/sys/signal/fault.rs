//! SIGSEGV and SIGBUS: finding out that a stack overflowed, and dying as std does.
//!
//! std installs a handler on an alternate stack for its own threads. Ours goes in front of it,
//! answers only for addresses that [`Look`] claims, and leaves every other fault to the handler that
//! was there before.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::{Once, OnceLock};

/// Looks at the address of a fault on the calling thread; `true` when it has been explained, and
/// the program is to abort.
///
/// Runs in a signal handler: it may not allocate, lock or unwind.
pub(crate) type Look = fn(address: usize) -> bool;

/// Who looks, in the order of [`install`]: one place for each kind of stack that trine has.
static LOOKS: [OnceLock<Look>; 4] = [const { OnceLock::new() }; 4];
static PREVIOUS: OnceLock<[libc::sigaction; 2]> = OnceLock::new();
const SIGNALS: [c_int; 2] = [libc::SIGSEGV, libc::SIGBUS];

/// Has `look` asked about every fault; a second call with the same one changes nothing.
pub(crate) fn install(look: Look) {
    static ONCE: Once = Once::new();
    let placed = LOOKS.iter().any(|place| *place.get_or_init(|| look) as usize == look as usize);
    assert!(placed, "more kinds of stacks than places");
    ONCE.call_once(|| {
        // Both old actions must be known before the first of our handlers can run.
        let previous = SIGNALS.map(|signal| exchange(signal, None));
        PREVIOUS.set(previous).unwrap_or_else(|_| unreachable!("set only here"));
        for signal in SIGNALS {
            // SAFETY: all-zero is a valid `sigaction`: no handler, no flags, an empty mask.
            let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            exchange(signal, Some(&action));
        }
    });
}

/// Gives the calling thread an alternate signal stack if it has none, so that the handler has
/// somewhere to run when the thread's own stack is used up. Lives as long as the process.
pub(crate) fn ensure_signal_stack() {
    const SIZE: usize = 64 * 1024;
    let mut old = MaybeUninit::<libc::stack_t>::uninit();
    // SAFETY: asks only; `old` is large enough and written before it is read.
    let old = unsafe {
        if libc::sigaltstack(std::ptr::null(), old.as_mut_ptr()) != 0 {
            return;
        }
        old.assume_init()
    };
    if old.ss_flags & libc::SS_DISABLE == 0 {
        return;
    }
    let stack = Box::leak(vec![0_u8; SIZE].into_boxed_slice());
    let new = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: SIZE };
    // SAFETY: the memory is leaked, so it outlives the thread, and nothing else uses it.
    unsafe { libc::sigaltstack(&raw const new, std::ptr::null_mut()) };
}

fn exchange(signal: c_int, new: Option<&libc::sigaction>) -> libc::sigaction {
    let mut old = MaybeUninit::<libc::sigaction>::zeroed();
    let new = new.map_or(std::ptr::null(), |new| new as *const _);
    // SAFETY: both pointers are valid or null as the call wants; a handler set here is `handler`,
    // which does only what a signal handler may.
    unsafe {
        libc::sigaction(signal, new, old.as_mut_ptr());
        old.assume_init()
    }
}

unsafe extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid `info` to a handler installed with SA_SIGINFO.
    let (address, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    // A positive code is a real fault; signals that somebody sent carry no address.
    if code > 0 && LOOKS.iter().any(|place| place.get().is_some_and(|look| look(address))) {
        // SAFETY: `abort` may be called from a signal handler (POSIX.1-2001 and later).
        unsafe { libc::abort() };
    }
    let index = usize::from(signal != libc::SIGSEGV);
    let Some(previous) = PREVIOUS.get().map(|all| &all[index]) else { return };
    match previous.sa_sigaction {
        // What somebody sent is ignored as before; a real fault cannot be.
        libc::SIG_IGN if code <= 0 => {}
        libc::SIG_DFL | libc::SIG_IGN => {
            // Put the default back and return: the same instruction faults again and dies of it. A
            // signal that somebody sent will not come again by itself, so raise it.
            // SAFETY: sets the default action, as the type's all-zero value is SIG_DFL.
            let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
            exchange(signal, Some(&default));
            if code <= 0 {
                // SAFETY: `raise` may be called from a signal handler.
                unsafe { libc::raise(signal) };
            }
        }
        function if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: whoever installed it with SA_SIGINFO promised this signature.
            let function: unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) =
                unsafe { std::mem::transmute(function) };
            // SAFETY: called as the kernel would, with the kernel's own arguments.
            unsafe { function(signal, info, context) };
        }
        function => {
            // SAFETY: whoever installed it without SA_SIGINFO promised this signature.
            let function: unsafe extern "C" fn(c_int) = unsafe { std::mem::transmute(function) };
            // SAFETY: called as the kernel would.
            unsafe { function(signal) };
        }
    }
}
