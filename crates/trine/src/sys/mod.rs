//! The only place that talks to the kernel.
//!
//! Everything above works with the types of this module; a plain test (`tests/layers.rs`) fails on
//! a system call anywhere else. One file per thing that the kernel is asked for.

pub(crate) mod atomic;
pub(crate) mod clock;
#[cfg(feature = "crash-points")]
pub(crate) mod crash;
pub(crate) mod futex;
pub(crate) mod io;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod observe;
pub(crate) mod presence;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod sandbox;
pub(crate) mod semaphore;
pub(crate) mod signal;

/// The size of a page of memory, in bytes.
pub(crate) fn page_size() -> usize {
    rustix::param::page_size()
}

/// Asks the processor to fetch the cache line of `address`, which may be anything: a hint, no access.
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

/// Writes `parts` to standard error, one `write` each, from where nothing may be allocated or
/// locked: a signal handler.
pub(crate) fn write_stderr_raw(parts: &[&[u8]]) {
    for part in parts {
        // SAFETY: descriptor 2 is borrowed for the one call only; a closed one answers EBADF.
        let stderr = unsafe { rustix::fd::BorrowedFd::borrow_raw(2) };
        let _ = rustix::io::write(stderr, part);
    }
}
