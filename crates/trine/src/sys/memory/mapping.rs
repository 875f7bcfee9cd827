//! A mapping of a file, unmapped on drop.

use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use rustix::mm::{self, MapFlags, ProtFlags};

/// The alignment of the start of every mapping, on every architecture.
pub(crate) const ALIGNMENT: usize = 4096;

/// An address range of this process that shows a part of a file. A mapping of no bytes takes no
/// address space.
///
/// It gives out its address only. The owner of the mapping decides which accesses are sound.
#[derive(Debug)]
pub(in crate::sys) struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address range without accesses of its own; its owner answers for those.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `file` from byte `offset`, a multiple of the page size.
    ///
    /// # Errors
    ///
    /// The kernel has no memory or no address space for the mapping, or refuses `access`.
    pub(in crate::sys) fn new(
        file: impl AsFd,
        offset: usize,
        len: usize,
        access: ProtFlags,
        flags: MapFlags,
    ) -> io::Result<Mapping> {
        if len == 0 {
            let nowhere = std::ptr::without_provenance_mut(ALIGNMENT);
            return Ok(Mapping { base: NonNull::new(nowhere).expect("not zero"), len });
        }
        let anywhere = std::ptr::null_mut();
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe { mm::mmap(anywhere, len, access, flags, file, offset as u64) }?;
        Ok(Mapping { base: NonNull::new(base.cast()).expect("mmap does not return null"), len })
    }

    /// Maps `len` bytes of `file` from byte `offset` for reading and writing; writes reach the
    /// file and its other mappings.
    ///
    /// # Errors
    ///
    /// The same as for [`new`](Mapping::new).
    pub(in crate::sys) fn shared(
        file: impl AsFd,
        offset: usize,
        len: usize,
    ) -> io::Result<Mapping> {
        Mapping::new(file, offset, len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED)
    }

    /// The first byte, at a multiple of [`ALIGNMENT`]. It does not move while the mapping exists.
    #[inline]
    pub(in crate::sys) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// The number of bytes.
    #[inline]
    pub(in crate::sys) fn len(&self) -> usize {
        self.len
    }

    /// Leaves the mapping out of processes that this process forks, for as long as it exists.
    ///
    /// Only for a mapping that no copy of this process uses: the copy has a hole there, which any
    /// other mapping can fill.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn keep_from_children(&self) -> io::Result<()> {
        if self.len > 0 {
            // SAFETY: the range is this mapping; the advice changes only what a new process gets.
            unsafe { mm::madvise(self.base.as_ptr().cast(), self.len, mm::Advice::LinuxDontFork) }?;
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the mapping belongs to this value alone, and no borrow of it is left.
            let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len) };
        }
    }
}
