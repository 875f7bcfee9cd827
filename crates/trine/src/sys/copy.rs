//! Whether this process is a copy, made by `fork`, of one that has marked itself.
//!
//! The mark is a page that the kernel fills with zeroes in a copy (`MADV_WIPEONFORK`, Linux 4.14), so looking costs no
//! system call. A process whose copies mark themselves [prepares](prepare) the page, and they find it.

use std::io;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU8};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// The page, once there is one; it stays mapped.
static MARK: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

/// Makes the page, for the calling process and its copies, and marks the caller.
///
/// # Errors
///
/// There is no memory, or the kernel is too old.
pub(crate) fn prepare() -> io::Result<()> {
    let (len, access) = (super::page_size(), ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: a new mapping at an address of the kernel's choice replaces nothing, and nobody else uses it.
    let page = unsafe {
        let page = mm::mmap_anonymous(ptr::null_mut(), len, access, MapFlags::PRIVATE)?;
        mm::madvise(page, len, Advice::LinuxWipeOnFork)?;
        page.cast::<u8>()
    };
    MARK.store(page, Relaxed);
    mark_original();
    Ok(())
}

/// Marks the calling process; its copies are known from now on. Something [is prepared](prepare) here, or in the process
/// that this one is a copy of.
pub(crate) fn mark_original() {
    let mark = MARK.load(Relaxed);
    assert!(!mark.is_null(), "nobody has prepared a mark");
    // SAFETY: not null, it is the page of `prepare`, which may be written and stays mapped, in copies as well.
    unsafe { AtomicU8::from_ptr(mark) }.store(1, Relaxed);
}

/// Whether the process that has marked itself is another one, and this its copy. May be called from a signal handler.
pub(crate) fn is_one() -> bool {
    let mark = MARK.load(Relaxed);
    // SAFETY: not null, it is the page of `prepare`, which stays mapped, in copies as well.
    !mark.is_null() && unsafe { AtomicU8::from_ptr(mark) }.load(Relaxed) == 0
}
