//! SIGABRT: finding out that memory ran out, and dying of it all the same.
//!
//! An allocation that Rust cannot do without ends in [`std::alloc::handle_alloc_error`], which does not return:
//! it prints a line and aborts. C++ and C libraries abort by themselves. The handler looks at the thread
//! that aborts, and takes one of two things for evidence:
//!
//! ```text
//!   stack of the thread that aborts                              the kernel
//!   ───────────────────────────────                              ──────────
//!   raise, abort, rust_oom, …                                    errno is ENOMEM: its last refusal, if any, was memory
//!   └► an address behind the one call of handle_alloc_error      └► and it refuses a little more right now
//! ```
//!
//! `errno` alone is none: the refusal may be long ago, and was handled. Nor is a process that is near its limit
//! and aborts for another reason.

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use rustix::mm::{self, MapFlags, ProtFlags};

/// Told that the process is about to end because memory ran out.
///
/// Runs in a signal handler: it may not allocate, lock or unwind.
pub(crate) type Tell = fn();

static TELL: OnceLock<Tell> = OnceLock::new();

/// How far behind the beginning of `handle_alloc_error` its call returns to, at most.
const CALL: usize = 48;
/// Words of the stack that are looked at: between `raise` and `handle_alloc_error` there is less than 1 KiB.
const WORDS: usize = 512;
/// What an allocator asks the kernel for at a time, roughly.
const LITTLE: usize = 256 * 1024;

/// Has `tell` told of aborts, in this process and those forked from it.
pub(crate) fn install(tell: Tell) {
    TELL.get_or_init(|| tell);
    set_action(handler as *const () as usize, libc::SA_SIGINFO | libc::SA_ONSTACK);
}

fn set_action(function: usize, flags: c_int) {
    // SAFETY: all-zero is a valid `sigaction`: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = function;
    action.sa_flags = flags;
    // SAFETY: `action` is valid; a function set here is `handler`, which does only what a signal
    // handler may, or the default.
    unsafe { libc::sigaction(libc::SIGABRT, &raw const action, ptr::null_mut()) };
}

/// Calls nothing that is not async-signal-safe.
unsafe extern "C" fn handler(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the address of the thread's own `errno` is always valid.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel passes valid ones to a handler installed with SA_SIGINFO.
    let (own, stack) = unsafe {
        // `abort` is a signal that the thread sends itself.
        let own = (*info).si_code == libc::SI_TKILL
            && (*info).si_pid() == std::process::id().cast_signed();
        (own, stack_pointer(&*context.cast::<libc::ucontext_t>()))
    };
    if own
        && (is_in_alloc_error(stack) || (errno == libc::ENOMEM && is_refused_memory()))
        && let Some(tell) = TELL.get()
    {
        tell();
    }
    set_action(libc::SIG_DFL, 0);
    // Blocked while the handler runs; then it ends the process.
    // SAFETY: `raise` may be called from a signal handler.
    unsafe { libc::raise(libc::SIGABRT) };
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.sp as usize
}

/// Whether the address that the call in `handle_alloc_error` returns to stands on the stack, not far above
/// `stack`. It stands there only if the function was called, and as it never returns, it has not.
fn is_in_alloc_error(stack: usize) -> bool {
    let begin = handle_alloc_error as fn(Layout) -> ! as usize;
    let own_process = std::process::id().cast_signed();
    // The handler may run on an alternate stack of a few KiB.
    let mut words = [0_usize; 32];
    let mut at = stack.next_multiple_of(size_of::<usize>());
    for _ in 0..WORDS / words.len() {
        let len = size_of_val(&words);
        let into = libc::iovec { iov_base: words.as_mut_ptr().cast(), iov_len: len };
        // In two parts, so that a page behind which there is nothing is read to its end.
        let first = len.min(at.next_multiple_of(super::page_size()).max(at + 8) - at);
        let from = [(at, first), (at + first, len - first)]
            .map(|(at, len)| libc::iovec { iov_base: at as *mut c_void, iov_len: len });
        // SAFETY: the kernel writes into `words` only, and answers EFAULT, or with less, for addresses
        // at which there is nothing.
        let read =
            unsafe { libc::process_vm_readv(own_process, &raw const into, 1, from.as_ptr(), 2, 0) };
        // The end of the stack, or a sandbox without the call.
        let Ok(read @ 1..) = usize::try_from(read) else { return false };
        let mut read = words[..read / size_of::<usize>()].iter();
        if read.any(|word| (begin + 1..=begin + CALL).contains(word)) {
            return true;
        }
        at += len;
    }
    false
}

/// Whether the kernel refuses a little memory of the kind that allocators ask for.
fn is_refused_memory() -> bool {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice replaces nothing; the one made here
    // is taken back here.
    unsafe {
        match mm::mmap_anonymous(ptr::null_mut(), LITTLE, access, MapFlags::PRIVATE) {
            Ok(mapped) => {
                let _ = mm::munmap(mapped, LITTLE);
                false
            }
            Err(error) => error == rustix::io::Errno::NOMEM,
        }
    }
}
