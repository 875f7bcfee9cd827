//! SIGABRT: reporting that memory ran out, and aborting nevertheless.
//!
//! An allocation that Rust cannot do without ends in [`std::alloc::handle_alloc_error`], which does
//! not return: it prints a line and aborts. C++ and C libraries abort by themselves. The handler
//! examines the thread that aborts, and takes one of two things for evidence:
//!
//! ```text
//!   stack of the thread that aborts                         the kernel
//!   ───────────────────────────────                         ──────────
//!   raise, abort, rust_oom, …                               errno is ENOMEM: its last refusal,
//!   └► an address behind the one call of                    if any, was of memory
//!      handle_alloc_error                                   └► it refuses 256 KiB right now
//! ```
//!
//! `errno` alone is no evidence: the refusal may be long ago, and was handled. Nor is it evidence
//! that a process near its limit aborts.

use std::alloc::{Layout, handle_alloc_error};
use std::ffi::{c_int, c_long, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use rustix::mm::{self, MapFlags, ProtFlags};

use super::action;
use crate::sys::process::image;

/// Reports that the process is about to end because memory ran out.
///
/// Runs in a signal handler: it may not allocate, lock or unwind.
pub(crate) type Report = fn();

static REPORT: OnceLock<Report> = OnceLock::new();

/// The address that the call in `handle_alloc_error` returns to; 0 if unknown.
static RETURN: AtomicUsize = AtomicUsize::new(0);

/// The number of bytes at the beginning of `handle_alloc_error` that are searched for its call.
const CODE: usize = 48;
/// The number of words of the stack that are searched: between `raise` and `handle_alloc_error`
/// there is less than 1 KiB.
const WORDS: usize = 512;
/// The number of bytes that an allocator asks the kernel for at a time, roughly.
const LITTLE: usize = 256 * 1024;

/// Has `report` called at aborts for want of memory, in this process and those forked from it.
pub(crate) fn install(report: Report) {
    REPORT.get_or_init(|| report);
    let function = handle_alloc_error as fn(Layout) -> ! as usize;
    let returns = image::code_before(function + CODE).and_then(|code| behind_first_call(&code));
    RETURN.store(returns.map_or(0, |offset| function + offset), Relaxed);
    let action = action::handled_by(handler, 0);
    // SAFETY: `handler` does only what a signal handler may.
    let _ = unsafe { action::exchange(libc::SIGABRT, Some(&action)) };
}

/// Calls nothing that is not async-signal-safe.
unsafe extern "C" fn handler(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let errno = action::errno();
    // SAFETY: the kernel passes valid pointers to a handler installed with SA_SIGINFO.
    let (own, stack) = unsafe {
        // `abort` sends the signal to its own thread.
        let own = (*info).si_code == libc::SI_TKILL
            && (*info).si_pid() == std::process::id().cast_signed();
        (own, stack_pointer(&*context.cast::<libc::ucontext_t>()))
    };
    if own
        && (is_in_alloc_error(stack) || (errno == libc::ENOMEM && is_refused_memory()))
        && let Some(report) = REPORT.get()
    {
        report();
    }
    action::restore_default(libc::SIGABRT);
    action::raise_in_handler(libc::SIGABRT);
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.sp as usize
}

/// Returns the offset in a function that its first call returns to; `None` if there is no call
/// before the function ends. Recognises the instructions that compilers begin functions with, byte
/// by byte.
#[cfg(target_arch = "x86_64")]
fn behind_first_call(code: &[u8; CODE]) -> Option<usize> {
    for (at, rest) in code.windows(2).enumerate() {
        match rest {
            // `call` with an offset; an address in memory (`[rip + offset]`); one in a register.
            [0xe8, _] => return Some(at + 5),
            [0xff, 0x15] => return Some(at + 6),
            [0xff, 0xd0..=0xd7] => return Some(at + 2),
            // `jmp`, `ud2`, `int3`, `ret`: another function follows.
            [0xe9 | 0xcc | 0xc3, _] | [0xff, 0x25 | 0xe0..=0xe7] | [0x0f, 0x0b] => return None,
            _ => {}
        }
    }
    None
}

/// Returns the offset in a function that its first call returns to; `None` if there is no call
/// before the function ends.
#[cfg(target_arch = "aarch64")]
fn behind_first_call(code: &[u8; CODE]) -> Option<usize> {
    for (at, instruction) in code.chunks_exact(4).enumerate() {
        let instruction = u32::from_le_bytes(instruction.try_into().ok()?);
        // `bl`, `blr`.
        if instruction & 0xfc00_0000 == 0x9400_0000 || instruction & 0xffff_fc1f == 0xd63f_0000 {
            return Some(4 * at + 4);
        }
        // `b`, `br`, `ret`, `brk`, `udf`: another function follows.
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

/// Returns true if the address that the call in `handle_alloc_error` returns to is on the stack,
/// not far above `stack`. It is there only if the function was called, and that function never
/// returns.
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
        // SAFETY: the kernel has just read from this page. It is a page of this thread's stack or,
        // where that ends, of the mapping behind it. A frame of this thread does not change while
        // its handler runs.
        let word = unsafe { (at as *const usize).read_volatile() };
        if word == wanted && wanted != 0 {
            return true;
        }
    }
    false
}

/// Returns true if the memory at `at` can be read: the kernel reads a set of signals there before
/// it refuses the unknown operation. Sandboxes allow this call, but deny `process_vm_readv`.
fn is_readable(at: usize) -> bool {
    const NOTHING: c_long = -1;
    let set_bytes = size_of::<u64>();
    // SAFETY: the call reads eight bytes at `at` or returns EFAULT; it changes nothing.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, NOTHING, at, ptr::null_mut::<u64>(), set_bytes)
    };
    action::errno() != libc::EFAULT
}

/// Returns true if the kernel refuses a small mapping of the kind that allocators ask for.
fn is_refused_memory() -> bool {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice replaces nothing; it is
    // unmapped here.
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
        // A call behind the end of a function is not its call.
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
