//! Memory that unrelated processes share: sealed, reached by atomics and by copies of bytes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{self, SealFlags};
use rustix::mm::{self, MapFlags, ProtFlags};

use super::sealed;

/// A mapping of sealed memory: its size can never change, so no access within it can fault.
///
/// Other processes may write anywhere in it at any time. So no reference to plain bytes of it is ever made:
/// words are atomics, and bytes are copied in and out by raw pointers.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address range whose contents are reached through atomics and copies only.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Why a descriptor is no memory to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is no memory of ordinary pages that can be sealed.
    Kind,
    /// Its size can still be changed, and an access to it fault.
    Seals,
}

impl Region {
    /// Makes `len` bytes of zeroes, of which only touched pages take memory, and their descriptor.
    pub(crate) fn create(len: usize) -> io::Result<(Region, OwnedFd)> {
        let memory = sealed::create(c"trine-channel")?;
        fs::ftruncate(&memory, len as u64)?;
        fs::fcntl_add_seals(&memory, SEALS)?;
        Ok((Region::map(&memory, len)?, memory))
    }

    /// Maps memory that another process has made, if it is sealed.
    pub(crate) fn attach(memory: impl AsFd) -> io::Result<Result<Region, Unfit>> {
        match sealed::check(&memory, SEALS) {
            Ok(len @ 1..) => Region::map(&memory, len).map(Ok),
            Ok(0) | Err(sealed::Unfit::NotMemory) => Ok(Err(Unfit::Kind)),
            Err(sealed::Unfit::Unsealed(_)) => Ok(Err(Unfit::Seals)),
            Err(sealed::Unfit::System(error)) => Err(error),
        }
    }

    fn map(memory: impl AsFd, len: usize) -> io::Result<Region> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe { mm::mmap(ptr::null_mut(), len, access, MapFlags::SHARED, memory, 0) }?;
        Ok(Region { base: NonNull::new(base.cast()).expect("mmap does not return null"), len })
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn at(&self, offset: usize, len: usize) -> NonNull<u8> {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "outside the memory");
        // SAFETY: within the mapping, as just checked.
        unsafe { self.base.byte_add(offset) }
    }

    /// The 64-bit word at byte `offset`.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8));
        // SAFETY: aligned and within the mapping (checked), which lives as long as `self` and cannot
        // shrink; whatever a process stores there is a valid `AtomicU64`.
        unsafe { self.at(offset, 8).cast::<AtomicU64>().as_ref() }
    }

    /// The 32-bit word at byte `offset`; never one that is also used as a half of a 64-bit word.
    #[inline]
    pub(crate) fn half(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4));
        // SAFETY: as in `word`.
        unsafe { self.at(offset, 4).cast::<AtomicU32>().as_ref() }
    }

    /// The lower half of the 64-bit word at `offset`: for the kernel to change, and for nothing else.
    pub(crate) fn low_half(&self, offset: usize) -> &AtomicU32 {
        self.half(if cfg!(target_endian = "little") { offset } else { offset + 4 })
    }

    /// Copies `bytes` to `offset`.
    #[inline]
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len());
        // SAFETY: within the mapping (checked); `bytes` are private memory, so nothing overlaps. Somebody
        // who writes there at the same time, against the protocol, garbles bytes that have no invariant.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
    }

    /// A copy of the byte at `offset`.
    #[inline]
    pub(crate) fn byte(&self, offset: usize) -> u8 {
        let from = self.at(offset, 1);
        // SAFETY: within the mapping (checked); any byte is valid, and it is read once.
        unsafe { from.as_ptr().read_volatile() }
    }

    /// Copies `len` bytes from `offset` to the end of `into`.
    #[inline]
    pub(crate) fn read(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        let from = self.at(offset, len);
        into.reserve(len);
        // SAFETY: within the mapping (checked), and there is room for `len` bytes behind what `into` holds, in
        // private memory. Any bytes are valid, whoever writes there at the same time.
        unsafe {
            ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr().add(into.len()), len);
            into.set_len(into.len() + len);
        }
    }

    /// Copies bytes from `offset` into `into`.
    #[inline]
    pub(crate) fn read_exact(&self, offset: usize, into: &mut [u8]) {
        let from = self.at(offset, into.len());
        // SAFETY: as in `read`; `into` is private memory.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), into.len()) };
    }

    /// Has the processor fetch the cache line at `offset`, if there is one.
    #[inline(always)]
    pub(crate) fn prefetch(&self, offset: usize) {
        crate::sys::prefetch(self.base.as_ptr().wrapping_add(offset));
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no borrow of it is left.
        let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::MemfdFlags;

    use super::*;

    #[test]
    fn memory_of_huge_pages_is_refused() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
        // A kernel may have none.
        let Ok(memory) = fs::memfd_create(c"huge", flags) else { return };
        fs::ftruncate(&memory, 2 << 20).unwrap();
        fs::fcntl_add_seals(&memory, SEALS).unwrap();
        assert_eq!(Region::attach(&memory).unwrap().unwrap_err(), Unfit::Kind);
    }
}
