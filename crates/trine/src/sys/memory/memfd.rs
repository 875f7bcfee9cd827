//! Files without a name (memfd): making, sealing and checking them.
//!
//! A seal forbids a kind of change to the file, for every process and permanently.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, MemfdFlags, SealFlags};
use rustix::io::Errno;

use crate::sys::lift::lift;
use crate::sys::limits::file_size::without_signal;

/// The seals that fix the size of a file, and forbid further seals. An access within a mapping of
/// the whole file can then not fault.
pub(in crate::sys) const FIXED_SIZE: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// The reason why a descriptor cannot be used as shared memory.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It is not a memfd of ordinary pages.
    NotMemory,
    /// It lacks this seal.
    Unsealed(&'static str),
    /// The kernel has refused a call.
    System(io::Error),
}

impl From<Errno> for Unfit {
    fn from(error: Errno) -> Unfit {
        Unfit::System(error.into())
    }
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Unfit {
        Unfit::System(error)
    }
}

/// Makes an empty memfd that can be sealed.
pub(in crate::sys) fn create(name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Linux 6.3. Where `vm.memfd_noexec` is 2, only memory without the right to execute is allowed.
    match fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => fs::memfd_create(name, flags),
        created => created,
    }
    .and_then(lift)
}

/// Sets the size of new memory. Beyond the process's limit for files this is an error and no
/// signal.
///
/// # Errors
///
/// `EFBIG` beyond that limit.
pub(in crate::sys) fn set_len(memory: &OwnedFd, len: u64) -> io::Result<()> {
    without_signal(|| Ok(fs::ftruncate(memory, len)?))
}

/// Returns the size of `memory`, which has all of `seals`.
///
/// # Errors
///
/// `memory` is not a memfd of ordinary pages, or lacks one of the seals.
pub(in crate::sys) fn check(memory: impl AsFd, seals: SealFlags) -> Result<usize, Unfit> {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    let present = match fs::fcntl_get_seals(&memory) {
        Err(Errno::INVAL) => return Err(Unfit::NotMemory),
        present => present?,
    };
    // Huge pages can be sealed too, but a page that was never written may be missing when it is
    // read.
    if u64::try_from(fs::fstatfs(&memory)?.f_type) != Ok(TMPFS_MAGIC) {
        return Err(Unfit::NotMemory);
    }
    for (seal, name) in [
        (SealFlags::SHRINK, "F_SEAL_SHRINK"),
        (SealFlags::GROW, "F_SEAL_GROW"),
        (SealFlags::WRITE, "F_SEAL_WRITE"),
        (SealFlags::SEAL, "F_SEAL_SEAL"),
    ] {
        if seals.contains(seal) && !present.contains(seal) {
            return Err(Unfit::Unsealed(name));
        }
    }
    // After the seals were seen, the size cannot change any more.
    let size = fs::fstat(memory)?.st_size;
    usize::try_from(size).map_err(|_| Unfit::NotMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_huge_pages_is_refused() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | MemfdFlags::HUGETLB;
        // A kernel may have none.
        let Ok(memory) = fs::memfd_create(c"huge", flags) else { return };
        fs::ftruncate(&memory, 2 << 20).unwrap();
        fs::fcntl_add_seals(&memory, FIXED_SIZE).unwrap();
        assert!(matches!(check(&memory, FIXED_SIZE), Err(Unfit::NotMemory)));
    }
}
