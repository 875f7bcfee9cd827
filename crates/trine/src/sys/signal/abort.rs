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
use std::ffi::{c_int, c_long, c_void};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use rustix::mm::{self, MapFlags, ProtFlags};

use crate::sys::process::image;

/// Told that the process is about to end because memory ran out.
///
/// Runs in a signal handler: it may not allocate, lock or unwind.
pub(crate) type Tell = fn();

static TELL: OnceLock<Tell> = OnceLock::new();

/// Where the call in `handle_alloc_error` returns to; 0 if that is not known.
static RETURN: AtomicUsize = AtomicUsize::new(0);

/// Bytes of `handle_alloc_error` among which its call is.
const CODE: usize = 48;
/// Words of the stack that are looked at: between `raise` and `handle_alloc_error` there is less than 1 KiB.
const WORDS: usize = 512;
/// What an allocator asks the kernel for at a time, roughly.
const LITTLE: usize = 256 * 1024;

/// Has `tell` told of aborts, in this process and those forked from it.
pub(crate) fn install(tell: Tell) {
    TELL.get_or_init(|| tell);
    let function = handle_alloc_error as fn(Layout) -> ! as usize;
    let returns = image::code_before(function + CODE).and_then(|code| behind_first_call(&code));
    RETURN.store(returns.map_or(0, |offset| function + offset), Relaxed);
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

/// How far behind the beginning of a function its first call returns to; `None` if there is none before the
/// function ends, as far as the instructions that compilers begin with can be told apart byte by byte.
#[cfg(target_arch = "x86_64")]
fn behind_first_call(code: &[u8; CODE]) -> Option<usize> {
    for (at, rest) in code.windows(2).enumerate() {
        match rest {
            // `call` by an offset; by an address in memory (`[rip + offset]`); by one in a register.
            [0xe8, _] => return Some(at + 5),
            [0xff, 0x15] => return Some(at + 6),
            [0xff, 0xd0..=0xd7] => return Some(at + 2),
            // `jmp`, `ud2`, `int3`, `ret`: what follows is another function's.
            [0xe9 | 0xcc | 0xc3, _] | [0xff, 0x25 | 0xe0..=0xe7] | [0x0f, 0x0b] => return None,
            _ => {}
        }
    }
    None
}

/// How far behind the beginning of a function its first call returns to; `None` if there is none before the
/// function ends.
#[cfg(target_arch = "aarch64")]
fn behind_first_call(code: &[u8; CODE]) -> Option<usize> {
    for (at, instruction) in code.chunks_exact(4).enumerate() {
        let instruction = u32::from_le_bytes(instruction.try_into().ok()?);
        // `bl`, `blr`.
        if instruction & 0xfc00_0000 == 0x9400_0000 || instruction & 0xffff_fc1f == 0xd63f_0000 {
            return Some(4 * at + 4);
        }
        // `b`, `br`, `ret`, `brk`, `udf`: what follows is another function's.
        let ends = instruction & 0xfc00_0000 == 0x1400_0000
            || instruction & 0xffff_fc1f == 0xd61f_0000
            || instruction & 0xffff_fc1f == 0xd65f_0000
            || instruction & 0xffe0_001f == 0xd420_0000
            || instruction >> 16 == 0;
        if ends {
            return None;
        }
    }
    None
}

/// Whether the address that the call in `handle_alloc_error` returns to stands on the stack, not far above
/// `stack`. It stands there only if the function was called, and as it never returns, it has not.
fn is_in_alloc_error(stack: usize) -> bool {
    let wanted = RETURN.load(Relaxed);
    let begin = stack.next_multiple_of(size_of::<usize>());
    let end = begin + WORDS * size_of::<usize>();
    let mut readable = begin;
    for at in (begin..end).step_by(size_of::<usize>()) {
        if at == readable {
            if !is_readable(at) {
                return false;
            }
            readable = (at + 1).next_multiple_of(crate::sys::page_size());
        }
        // SAFETY: the kernel has just read from this page, which is of this thread's stack or, where that ends, of
        // what is mapped behind it. A frame of this thread does not change while its handler runs.
        let word = unsafe { (at as *const usize).read_volatile() };
        if word == wanted && wanted != 0 {
            return true;
        }
    }
    false
}

/// Whether there is memory at `at` that may be read: the kernel looks at a set of signals there, before it finds that
/// it is not told what to do with it. No sandbox denies that, as it does `process_vm_readv`.
fn is_readable(at: usize) -> bool {
    const NOTHING: c_long = -1;
    let set_bytes = size_of::<u64>();
    // SAFETY: the call reads eight bytes at `at` or answers EFAULT; it changes nothing.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, NOTHING, at, ptr::null_mut::<u64>(), set_bytes)
    };
    // SAFETY: the address of the thread's own `errno` is always valid.
    (unsafe { *libc::__errno_location() }) != libc::EFAULT
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_of_handle_alloc_error_is_found() {
        let function = handle_alloc_error as fn(Layout) -> ! as usize;
        let code = image::code_before(function + CODE).unwrap();
        assert!(behind_first_call(&code).is_some(), "{code:02x?}");
        // Of a function that has none, what follows it is not taken.
        assert_eq!(behind_first_call(&[0; CODE]), None);
        #[cfg(target_arch = "x86_64")]
        {
            let mut jumps = [0x90; CODE];
            jumps[4..9].copy_from_slice(&[0xe9, 1, 2, 3, 4]);
            jumps[16..21].copy_from_slice(&[0xe8, 1, 2, 3, 4]);
            assert_eq!(behind_first_call(&jumps), None);
            jumps[..6].copy_from_slice(&[0xff, 0x15, 1, 2, 3, 4]);
            assert_eq!(behind_first_call(&jumps), Some(6));
        }
    }
}
