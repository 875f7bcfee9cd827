//! Memory of a fixed size that other processes may write to at any time.
//!
//! The memory is a memfd whose size is sealed, so no access within it can fault. No reference to
//! its plain bytes is ever made: words are atomics, and bytes are copied in and out, each by one
//! access that the compiler does not repeat (`racy.rs`). A reader believes what it finds no further
//! than it can check it.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use rustix::fs;

use super::mapping::Mapping;
use super::memfd::{self, FIXED_SIZE, Unfit};
use super::racy;

/// A mapping of sealed memory.
///
/// # Safety of the accesses
///
/// Each access is aligned and lies within the mapping, as [`at`](SharedMemory::at) has checked.
/// The mapping lives as long as the value, and its file cannot shrink. Any bytes are a valid
/// integer, so it does not matter which process writes them, or when.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    mapping: Mapping,
}

impl SharedMemory {
    /// Makes `len` bytes of zeroes, and the descriptor by which another process attaches to them.
    /// Only pages that are touched take memory. `name` appears in `/proc/PID/maps`.
    ///
    /// # Errors
    ///
    /// No descriptor or no memory is left; the kernel refuses the seals.
    pub(crate) fn create(name: &CStr, len: usize) -> io::Result<(SharedMemory, OwnedFd)> {
        let memory = memfd::create(name)?;
        memfd::set_len(&memory, len as u64)?;
        fs::fcntl_add_seals(&memory, FIXED_SIZE)?;
        Ok((SharedMemory { mapping: Mapping::shared(&memory, 0, len)? }, memory))
    }

    /// Maps memory that another process has made, if it is sealed and not empty.
    ///
    /// # Errors
    ///
    /// The descriptor is not sealed memory, or the kernel has no room for the mapping.
    pub(crate) fn attach(memory: impl AsFd) -> Result<SharedMemory, Unfit> {
        match memfd::check(&memory, FIXED_SIZE)? {
            0 => Err(Unfit::NotMemory),
            len => Ok(SharedMemory { mapping: Mapping::shared(&memory, 0, len)? }),
        }
    }

    /// Maps memory that another process has made, if it is sealed and has `len` bytes.
    ///
    /// # Errors
    ///
    /// The memory is not sealed or has another size, or the kernel has no room for the mapping.
    pub(crate) fn attach_len(memory: impl AsFd, len: usize) -> io::Result<SharedMemory> {
        check_len(&memory, len)?;
        Ok(SharedMemory { mapping: Mapping::shared(&memory, 0, len)? })
    }

    /// Uses `mapping`, which shows sealed memory for reading and writing.
    pub(super) fn of(mapping: Mapping) -> SharedMemory {
        SharedMemory { mapping }
    }

    /// The number of bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.mapping.len()
    }

    /// The first byte, at a multiple of [`ALIGNMENT`](super::mapping::ALIGNMENT). It does not move
    /// while this value exists.
    #[inline]
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.mapping.base()
    }

    /// The address of the `len` bytes from `offset`.
    ///
    /// # Panics
    ///
    /// `offset` is not a multiple of `alignment`, or the bytes do not lie within the mapping.
    #[inline]
    fn at(&self, offset: usize, len: usize, alignment: usize) -> NonNull<u8> {
        let end = offset.checked_add(len);
        let fits = offset.is_multiple_of(alignment) && end.is_some_and(|end| end <= self.len());
        assert!(fits, "outside the memory");
        // SAFETY: within the mapping, as just checked.
        unsafe { self.base().byte_add(offset) }
    }

    /// The 64-bit word at byte `offset`.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: see the type.
        unsafe { self.at(offset, 8, 8).cast().as_ref() }
    }

    /// The `count` 64-bit words from byte `offset`.
    #[inline]
    pub(crate) fn words(&self, offset: usize, count: usize) -> &[AtomicU64] {
        let first = self.at(offset, count.saturating_mul(8), 8);
        // SAFETY: see the type, for each of the words.
        unsafe { std::slice::from_raw_parts(first.cast().as_ptr(), count) }
    }

    /// The 32-bit word at byte `offset`. It must not also be used as a half of a 64-bit word.
    #[inline]
    pub(crate) fn half(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: see the type.
        unsafe { self.at(offset, 4, 4).cast().as_ref() }
    }

    /// The lower half of the 64-bit word at `offset`. Only the kernel may access it: the caller
    /// passes its address and nothing else.
    pub(crate) fn low_half(&self, offset: usize) -> &AtomicU32 {
        self.half(if cfg!(target_endian = "little") { offset } else { offset + 4 })
    }

    /// Copies `bytes` to `offset`.
    #[inline]
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let to = self.at(offset, bytes.len(), 1);
        // SAFETY: see the type. `bytes` are private memory, so nothing overlaps. A process that
        // writes there at the same time, against the protocol, garbles bytes without invariants.
        unsafe { racy::copy_in(bytes.as_ptr(), to.as_ptr(), bytes.len()) };
    }

    /// Returns a copy of the byte at `offset`.
    #[inline]
    pub(crate) fn byte(&self, offset: usize) -> u8 {
        // SAFETY: see the type.
        unsafe { self.at(offset, 1, 1).cast::<AtomicU8>().as_ref() }.load(Relaxed)
    }

    /// Appends `len` bytes from `offset` to `into`.
    #[inline]
    pub(crate) fn read(&self, offset: usize, len: usize, into: &mut Vec<u8>) {
        let from = self.at(offset, len, 1);
        into.reserve(len);
        // SAFETY: see the type. `into` is private memory with room for `len` more bytes.
        unsafe {
            racy::copy_out(from.as_ptr(), into.as_mut_ptr().add(into.len()), len);
            into.set_len(into.len() + len);
        }
    }

    /// Fills `into` with the bytes from `offset`.
    #[inline]
    pub(crate) fn read_exact(&self, offset: usize, into: &mut [u8]) {
        let from = self.at(offset, into.len(), 1);
        // SAFETY: see the type; `into` is private memory.
        unsafe { racy::copy_out(from.as_ptr(), into.as_mut_ptr(), into.len()) };
    }

    /// Asks the processor to fetch the cache line at `offset`, which may lie outside the memory.
    #[inline(always)]
    pub(crate) fn prefetch(&self, offset: usize) {
        crate::sys::prefetch(self.base().as_ptr().wrapping_add(offset));
    }
}

/// Checks that memory of another process is sealed and has `len` bytes.
fn check_len(memory: impl AsFd, len: usize) -> io::Result<()> {
    match memfd::check(memory, FIXED_SIZE) {
        Ok(found) if found == len => Ok(()),
        Ok(_) | Err(Unfit::NotMemory | Unfit::Unsealed(_)) => {
            Err(io::Error::other("the shared memory is not sealed, or not of the expected size"))
        }
        Err(Unfit::System(error)) => Err(error),
    }
}
