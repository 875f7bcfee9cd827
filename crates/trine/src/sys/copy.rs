//! Whether this process is a copy, made by `fork`, of one that has marked itself.
//!
//! The mark is a page that the kernel fills with zeroes in a copy (`MADV_WIPEONFORK`, Linux 4.14), so looking costs no
//! system call.

use std::io;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU8};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// The page, once there is one; it stays mapped.
static MARK: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// Marks the calling process; its copies are known from now on.
///
/// # Errors
///
/// There is no memory.
pub(crate) fn mark_original() -> io::Result<()> {
    let (len, access) = (super::page_size(), ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing, and nobody else uses it.
    let page = unsafe {
        let page = mm::mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE)?;
        mm::madvise(page, len, Advice::LinuxWipeOnFork)?;
        page.cast::<u8>()
    };
    // SAFETY: the page was just mapped, to be written, and stays.
    unsafe { AtomicU8::from_ptr(page) }.store(1, Relaxed);
    MARK.store(page, Relaxed);
    Ok(())
}

/// Whether the process that has marked itself is another one, and this its copy. May be called from a signal handler.
pub(crate) fn is_one() -> bool {
    let mark = MARK.load(Relaxed);
    // SAFETY: not null, it is the page of `mark_original`, which stays mapped, in copies as well.
    !mark.is_null() && unsafe { AtomicU8::from_ptr(mark) }.load(Relaxed) == 0
}
