//! Memory that unrelated processes share: sealed, reached by atomics and by copies of bytes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{self, Mode, OFlags, SealFlags};
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
        super::prefetch(self.base.as_ptr().wrapping_add(offset));
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and no borrow of it is left.
        let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Says to all processes that share some memory that this one is there, and tells who else is.
///
/// Each takes a number by a lock on that byte of the memory's file. The lock belongs to an opening of its
/// own (`F_OFD_SETLK`), and the kernel gives it up when that is closed, however the process ends: no number
/// of a process that could be used again, no zombie, no namespace comes into it.
#[derive(Debug)]
pub(crate) struct Presence {
    opening: OwnedFd,
    number: u32,
}

impl Presence {
    /// Takes the lowest free number below `most`.
    ///
    /// # Errors
    ///
    /// If the memory cannot be opened once more (no descriptor left, no `/proc`), or all numbers are taken.
    pub(crate) fn new(memory: impl AsFd, most: u32) -> io::Result<Presence> {
        let path = format!("/proc/self/fd/{}", memory.as_fd().as_raw_fd());
        let opening = fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        for number in 0..most {
            match lock_call(&opening, libc::F_OFD_SETLK, number) {
                Ok(_) => return Ok(Presence { opening, number }),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other(format!("{most} processes use it already, which is all it can have")))
    }

    /// The own number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Whether somebody has that number.
    pub(crate) fn is_there(&self, number: u32) -> bool {
        // In doubt it is, and the caller asks again.
        number == self.number
            || lock_call(&self.opening, libc::F_OFD_GETLK, number)
                .map_or(true, |found| i32::from(found.l_type) != libc::F_UNLCK)
    }
}

fn lock_call(file: &OwnedFd, command: libc::c_int, byte: u32) -> io::Result<libc::flock> {
    // SAFETY: a plain C struct, for which zeroes are valid; `l_pid` has to be 0 here.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = byte.into();
    lock.l_len = 1;
    // SAFETY: the kernel reads and writes `lock`, of the type that these commands take.
    if unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(lock)
}

/// A bell that is heard by all who watch its descriptor for changes, in any process. It is never quieted: each
/// ring is a change.
pub(crate) fn bell() -> io::Result<OwnedFd> {
    use rustix::event::{EventfdFlags, eventfd};
    Ok(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
}

/// Rings a [`bell`].
pub(crate) fn ring(bell: impl AsFd) {
    if rustix::io::write(&bell, &1_u64.to_ne_bytes()).is_err() {
        // Full: somebody has counted it up. From zero on it rings again.
        let _ = rustix::io::read(&bell, &mut [0_u8; 8]);
        let _ = rustix::io::write(&bell, &1_u64.to_ne_bytes());
    }
}

/// Whether `descriptor` is a [`bell`].
pub(crate) fn is_bell(descriptor: impl AsFd) -> bool {
    let path = format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd());
    std::fs::read_link(path).is_ok_and(|kind| kind.as_os_str() == "anon_inode:[eventfd]")
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
