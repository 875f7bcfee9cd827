//! Memory in a file without a name (memfd) that is sealed before any other process sees it.
//!
//! ```text
//!   Draft::new(len)     pages allocated; one writable mapping; only this process has it
//!      └─ freeze() ──► Frozen   seals SHRINK GROW WRITE SEAL, mapped read-only: nothing changes
//!   Open::new(len)              seals SHRINK GROW SEAL, mapped read-write: any process can write
//!   Frozen::attach(descriptor), Open::attach(descriptor): map checked memory of another process
//! ```
//!
//! The pages are allocated when the memory is made. A page that is missing later would raise
//! SIGBUS when the kernel has none left, without an error to report.
//!
//! A copy of this process (`fork`) gets the mappings of `Frozen` and `Open`, and not that of a
//! `Draft`. Two processes would fill a draft through exclusive borrows. So while one
//! [exists](drafts), this library does not fork.
//!
//! `Frozen` is mapped `MAP_PRIVATE`: before Linux 6.7, a write-sealed file refuses shared mappings,
//! even read-only ones. With the seal, a private and a shared mapping show the same bytes.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use rustix::fs::{self, FallocateFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use super::mapping::Mapping;
use super::memfd::{self, FIXED_SIZE};
use super::shared::SharedMemory;
use crate::sys::io::reopen::reopen;
use crate::sys::limits::{self, file_size::without_signal};

pub(crate) use super::mapping::ALIGNMENT;
pub(crate) use super::memfd::Unfit;

const NAME: &CStr = c"trine-shared";

/// The seals of [`Frozen`].
const FROZEN: SealFlags = FIXED_SIZE.union(SealFlags::WRITE);

/// The number of bytes that one call allocates. A signal undoes an unfinished call, so a large
/// call might never finish.
const PIECE: u64 = 16 << 20;

/// Memory that only this process has, to be filled.
#[derive(Debug)]
pub(crate) struct Draft {
    memory: OwnedFd,
    mapping: Mapping,
    _counted: Counted,
}

/// The number of [`Draft`]s that exist.
static DRAFTS: AtomicUsize = AtomicUsize::new(0);

/// One of the [`DRAFTS`].
#[derive(Debug)]
struct Counted;

impl Counted {
    fn new() -> Counted {
        DRAFTS.fetch_add(1, Relaxed);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        DRAFTS.fetch_sub(1, Relaxed);
    }
}

/// Returns the number of memories that are being filled. A copy of the process has a hole in the
/// place of each.
///
/// The answer is exact for the only thread of a process.
pub(crate) fn drafts() -> usize {
    DRAFTS.load(Relaxed)
}

impl Draft {
    /// Makes `len` bytes of zeroes.
    ///
    /// # Errors
    ///
    /// No memory or no descriptor is left, or `len` is beyond the process's limit for a file.
    pub(crate) fn new(len: usize) -> io::Result<Draft> {
        let counted = Counted::new();
        let (memory, mapping) = new_mapping(len)?;
        // Before any borrow of its bytes, which a copy of the process must not have.
        mapping.keep_from_children()?;
        Ok(Draft { memory, mapping, _counted: counted })
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping holds as many bytes. No other process has it or its descriptor: other
        // programs do not inherit it, and no copy of this process is made (`drafts`). This borrow
        // is exclusive.
        unsafe { slice::from_raw_parts_mut(self.mapping.base().as_ptr(), self.mapping.len()) }
    }

    /// Seals the memory permanently as it is.
    ///
    /// # Errors
    ///
    /// No memory is left for a mapping; the kernel refuses the seals.
    pub(crate) fn freeze(self) -> io::Result<Frozen> {
        let Draft { memory, mapping, _counted } = self;
        let len = mapping.len();
        drop(mapping);
        add_frozen_seals(&memory)?;
        Frozen::map(memory, len)
    }
}

/// Memory that system calls fill from its beginning to its end.
///
/// A page that is written whole is never zeroed before, and there is no mapping that a forked
/// child could have.
#[derive(Debug)]
pub(crate) struct Written {
    memory: OwnedFd,
    /// The number of bytes that may still be written.
    room: u64,
}

impl Written {
    /// Makes empty memory.
    ///
    /// # Errors
    ///
    /// No descriptor is left, or a sandbox forbids the call.
    pub(crate) fn new() -> io::Result<Written> {
        // Beyond it the kernel would kill some process.
        let room = limits::available_memory().unwrap_or(u64::MAX);
        Ok(Written { memory: memfd::create(NAME)?, room })
    }

    /// Adds `bytes` at the end.
    ///
    /// # Errors
    ///
    /// There is no memory for them; the limit for files is met (`EFBIG`).
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.room = self.room.checked_sub(bytes.len() as u64).ok_or(Errno::NOMEM)?;
        without_signal(|| {
            while !bytes.is_empty() {
                let count = rustix::io::retry_on_intr(|| rustix::io::write(&self.memory, bytes))?;
                bytes = &bytes[count..];
            }
            Ok(())
        })
    }

    /// Seals the memory permanently as it is, so that [`Frozen::attach`] accepts it.
    ///
    /// # Errors
    ///
    /// The kernel refuses the seals.
    pub(crate) fn seal(&self) -> io::Result<()> {
        Ok(add_frozen_seals(&self.memory)?)
    }

    /// Returns the memory, sealed or not.
    pub(crate) fn into_descriptor(self) -> OwnedFd {
        self.memory
    }
}

/// Memory that no process can change any more.
#[derive(Debug)]
pub(crate) struct Frozen {
    memory: OwnedFd,
    mapping: Mapping,
}

/// The state of memory that can no longer change.
#[derive(Debug)]
pub(crate) struct Examined {
    pub(crate) len: usize,
    /// True if some pages were never written: they take no memory before they are read.
    pub(crate) has_holes: bool,
}

impl Frozen {
    /// Maps memory of any origin, if it can no longer change.
    ///
    /// # Errors
    ///
    /// It can change, or is not memory; the kernel has no room for the mapping.
    pub(crate) fn attach(memory: OwnedFd) -> Result<Frozen, Unfit> {
        let len = memfd::check(&memory, FROZEN)?;
        Ok(Frozen::map(memory, len)?)
    }

    /// Examines memory that [`attach`](Frozen::attach) would accept.
    ///
    /// # Errors
    ///
    /// The same as for `attach`, but for those of the mapping.
    pub(crate) fn examine(memory: &OwnedFd) -> Result<Examined, Unfit> {
        let len = memfd::check(memory, FROZEN)?;
        let pages = fs::fstat(memory)?.st_blocks as u64;
        Ok(Examined { len, has_holes: pages < (len as u64).div_ceil(512) })
    }

    fn map(memory: OwnedFd, len: usize) -> io::Result<Frozen> {
        let mapping = Mapping::new(&memory, 0, len, ProtFlags::READ, MapFlags::PRIVATE)?;
        Ok(Frozen { memory, mapping })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping holds as many bytes for as long as `self`. The seals, which cannot be
        // removed, keep every process from changing the bytes or their number.
        unsafe { slice::from_raw_parts(self.mapping.base().as_ptr(), self.mapping.len()) }
    }
}

impl AsFd for Frozen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// Memory of a fixed size that any process may write at any time, and its descriptor.
#[derive(Debug)]
pub(crate) struct Open {
    memory: OwnedFd,
    shared: SharedMemory,
}

impl Open {
    /// Makes `len` bytes of zeroes. Every process that gets the memory may write them.
    ///
    /// # Errors
    ///
    /// The same as for [`Draft::new`]; also if the kernel refuses the seals.
    pub(crate) fn new(len: usize) -> io::Result<Open> {
        let (memory, mapping) = new_mapping(len)?;
        fs::fcntl_add_seals(&memory, FIXED_SIZE)?;
        Ok(Open { memory, shared: SharedMemory::of(mapping) })
    }

    /// Maps memory of any origin, if its size cannot change.
    ///
    /// # Errors
    ///
    /// The same as for [`Frozen::attach`]; also if the memory is sealed against writing.
    pub(crate) fn attach(memory: OwnedFd) -> Result<Open, Unfit> {
        let len = memfd::check(&memory, FIXED_SIZE)?;
        let shared = SharedMemory::of(Mapping::shared(&memory, 0, len)?);
        Ok(Open { memory, shared })
    }

    /// Like [`attach`](Open::attach), through an open file of its own. No other process can hold or
    /// release the locks of that file.
    ///
    /// # Errors
    ///
    /// The same as for [`attach`](Open::attach); also if the file cannot be opened again.
    pub(crate) fn attach_apart(memory: BorrowedFd<'_>) -> Result<Open, Unfit> {
        memfd::check(memory, FIXED_SIZE)?;
        Open::attach(reopen(memory)?)
    }

    /// The 64-bit word at byte `offset`.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        self.shared.word(offset)
    }

    /// The first byte, at a multiple of [`ALIGNMENT`]. It does not move while `self` exists.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.shared.base()
    }

    /// The number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.shared.len()
    }
}

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// Makes memory of `len` bytes, all zeroes, and maps it for reading and writing.
fn new_mapping(len: usize) -> io::Result<(OwnedFd, Mapping)> {
    let memory = memfd::create(NAME)?;
    memfd::set_len(&memory, len as u64)?;
    // Mapped first: this takes no memory yet and fails if there are too few addresses.
    let mapping = Mapping::shared(&memory, 0, len)?;
    allocate(&memory, len as u64)?;
    Ok((memory, mapping))
}

/// Allocates all pages of `memory`, or none.
///
/// The kernel does not refuse memory that the machine does not have; it kills some process later.
/// So this asks for no more than is available.
fn allocate(memory: &OwnedFd, len: u64) -> rustix::io::Result<()> {
    /// The number of bytes allocated between two checks of the available memory.
    const STRIDE: u64 = 1 << 30;
    let mut at = 0;
    while at < len {
        if at.is_multiple_of(STRIDE) && len > PIECE {
            let available = limits::available_memory().unwrap_or(u64::MAX);
            if len - at > available - available / 16 {
                return Err(Errno::NOMEM);
            }
        }
        let piece = PIECE.min(len - at);
        rustix::io::retry_on_intr(|| fs::fallocate(memory, FallocateFlags::empty(), at, piece))?;
        at += piece;
    }
    Ok(())
}

/// Adds the seals of [`Frozen`].
///
/// The kernel refuses them while any process has a writable mapping. A child that was forked just
/// before the mapping was kept from children has one until it starts its program, so this retries.
fn add_frozen_seals(memory: &OwnedFd) -> rustix::io::Result<()> {
    const ATTEMPTS: u32 = 200;
    for _ in 0..ATTEMPTS {
        match fs::fcntl_add_seals(memory, FROZEN) {
            Err(Errno::BUSY) => std::thread::sleep(Duration::from_micros(500)),
            sealed => return sealed,
        }
    }
    Err(Errno::BUSY)
}
