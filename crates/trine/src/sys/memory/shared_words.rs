//! Memory that several processes of one program see at once: words only. (`region.rs` has that of unrelated ones, of any
//! length, where bytes are copied, too.)

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{self, SealFlags};
use rustix::mm::{self, MapFlags, ProtFlags};

use super::sealed;

/// A mapping of sealed memory: its size can never change, so no access to it can fault.
///
/// What other processes write there is theirs: it is read through atomics only, and believed no
/// further than the reader can check.
#[derive(Debug)]
pub(crate) struct Shared {
    base: NonNull<c_void>,
    len: usize,
}

// SAFETY: an address range whose contents are reached through atomics only.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

impl Shared {
    /// Makes `len` bytes of zeroes, of which only touched pages take memory, and the descriptor by
    /// which another process can [`attach`](Shared::attach) them.
    pub(crate) fn create(len: usize) -> io::Result<(Shared, OwnedFd)> {
        let memory = sealed::create(c"trine")?;
        fs::ftruncate(&memory, len as u64)?;
        fs::fcntl_add_seals(&memory, SEALS)?;
        Ok((Shared::map(&memory, 0, len, MapFlags::SHARED)?, memory))
    }

    /// Maps memory that another process has made, if it has this length and is sealed.
    pub(crate) fn attach(memory: impl AsFd, len: usize) -> io::Result<Shared> {
        check(&memory, len)?;
        Shared::map(&memory, 0, len, MapFlags::SHARED)
    }

    fn map(memory: impl AsFd, at: usize, len: usize, flags: MapFlags) -> io::Result<Shared> {
        let (anywhere, access) = (std::ptr::null_mut(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe { mm::mmap(anywhere, len, access, flags, memory, at as u64) }?;
        Ok(Shared { base: NonNull::new(base).expect("mmap does not return null"), len })
    }

    /// The word at byte `offset`.
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset.checked_add(8).is_some_and(|e| e <= self.len));
        // SAFETY: aligned and within the mapping (checked), which lives as long as `self` and cannot
        // shrink; zeroes are a valid `AtomicU64`, and so is whatever a process stores there.
        unsafe { self.base.byte_add(offset).cast::<AtomicU64>().as_ref() }
    }

    /// The `count` words from byte `offset` on.
    #[inline]
    pub(crate) fn words(&self, offset: usize, count: usize) -> &[AtomicU64] {
        let end = count.checked_mul(8).and_then(|len| len.checked_add(offset));
        assert!(offset.is_multiple_of(8) && end.is_some_and(|end| end <= self.len));
        // SAFETY: as for `word`, for each of them.
        unsafe {
            let first = self.base.byte_add(offset).cast::<AtomicU64>();
            std::slice::from_raw_parts(first.as_ptr(), count)
        }
    }

    /// The half of a word at byte `offset`, for the kernel to sleep on.
    pub(crate) fn half(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset.checked_add(4).is_some_and(|e| e <= self.len));
        // SAFETY: as for `word`.
        unsafe { self.base.byte_add(offset).cast::<AtomicU32>().as_ref() }
    }
}

/// Memory that another process has made, of which single pages are mapped.
#[derive(Debug)]
pub(crate) struct Pages {
    memory: OwnedFd,
    len: usize,
}

impl Pages {
    /// Of memory that has this length and is sealed.
    pub(crate) fn of(memory: OwnedFd, len: usize) -> io::Result<Pages> {
        check(&memory, len)?;
        Ok(Pages { memory, len })
    }

    /// Maps the page at `offset`, which the caller is about to write to.
    pub(crate) fn map(&self, offset: usize) -> io::Result<Shared> {
        let page = crate::sys::page_size();
        assert!(
            offset.is_multiple_of(page) && offset.checked_add(page).is_some_and(|e| e <= self.len)
        );
        Shared::map(&self.memory, offset, page, MapFlags::SHARED | MapFlags::POPULATE)
    }
}

impl AsFd for Pages {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// Whether memory that another process has made has this length and is sealed.
fn check(memory: impl AsFd, len: usize) -> io::Result<()> {
    let sealed = fs::fcntl_get_seals(&memory)?.contains(SEALS);
    // After the seals: from here on it is what it is.
    if sealed && u64::try_from(fs::fstat(&memory)?.st_size) == Ok(len as u64) {
        Ok(())
    } else {
        Err(io::Error::other("the shared memory is not as agreed"))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no borrow of it is left.
        let _ = unsafe { mm::munmap(self.base.as_ptr(), self.len) };
    }
}
