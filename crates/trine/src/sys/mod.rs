//! The only module that calls the kernel.
//!
//! Every module above works with the types of this one; a plain test (`tests/house`) fails on a
//! system call anywhere else. Each room is a topic, each file one thing that the kernel does.
//!
//! | room | contents |
//! |---|---|
//! | `io/` | descriptors: files, sockets, FIFOs, message queues, `poll`, `epoll`, `io_uring` |
//! | `memory/` | mappings: stacks, and memory that processes share |
//! | `process/` | processes: starting, forking, watching and killing them |
//! | `signal/` | signals: their names, sending them, and acting on them |
//! | `limits/` | limits of the system and of a process; explanations of refusals |
//! | `sandbox/` | rights that a process gives up |
//! | `futex.rs` | sleeping on an atomic word |
//! | `semaphore.rs` | the memory of a semaphore between processes |
//! | `presence.rs` | which processes that share some memory are alive |
//! | `observe.rs` | the state of a thread or process |
//! | `cleanup.rs` | destructors that an unwinding runs, found on the stack |
//! | `float.rs` | the control words of floating point |
//! | `clock.rs` | the clock that all processes share |
//! | `lift.rs` | the library's own descriptors stay above the standard streams |
//! | `thread_end.rs` | the moment before a thread destroys its thread-locals |
//! | `random.rs` | random numbers |
//! | `atomic.rs` | the atomics that the models replace by loom's |
//! | `crash.rs` | crash points, for tests |

use std::fmt;

pub(crate) mod atomic;
pub(crate) mod cleanup;
pub(crate) mod clock;
#[cfg(feature = "crash-points")]
pub(crate) mod crash;
pub(crate) mod float;
pub(crate) mod futex;
pub(crate) mod io;
pub(crate) mod lift;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod observe;
pub(crate) mod presence;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod sandbox;
pub(crate) mod semaphore;
pub(crate) mod signal;
pub(crate) mod thread_end;

/// Returns the size of a page of memory, in bytes.
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}

/// Asks the processor to fetch the cache line of `address`. This is a hint and no access, so the
/// address may be invalid.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults and changes nothing that a program can see.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Writes `parts` to standard error, one `write` each. Neither allocates nor locks, so it may be
/// called from a signal handler.
pub(crate) fn write_stderr_raw(parts: &[&[u8]]) {
    for part in parts {
        // SAFETY: descriptor 2 is borrowed for one call only; if it is closed, the kernel returns
        // EBADF.
        let stderr = unsafe { rustix::fd::BorrowedFd::borrow_raw(2) };
        let _ = rustix::io::write(stderr, part);
    }
}

/// Writes `text` to standard error, as `eprint!` does, but ignores errors, where `eprint!` panics:
/// in a panic hook that would abort the program.
///
/// Only the macros of std reach the output that a test captures (`set_output_capture` is not
/// stable). `Attempt` keeps the error of the write from them.
pub(crate) fn eprint(text: impl fmt::Display) {
    struct Attempt<T>(T);

    impl<T: fmt::Display> fmt::Display for Attempt<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let _ = self.0.fmt(f);
            Ok(())
        }
    }

    // One piece, so that it is written by one call.
    eprint!("{}", Attempt(text.to_string()));
}
