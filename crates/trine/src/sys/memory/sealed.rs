//! Memory in a file without a name (memfd) that is sealed before anybody else sees it.
//!
//! ```text
//!   Draft::new(len)      its pages are there; one writable mapping; nobody else has the descriptor
//!      ├─ freeze() ───►  Frozen   seals SHRINK GROW WRITE SEAL, mapped for reading: nobody can change it
//!      └─ open() ─────►  Open     seals SHRINK GROW SEAL, mapped for reading and writing: anybody can
//!   Frozen::attach(descriptor), Open::attach(descriptor): the same, made by somebody else, once it is checked
//! ```
//!
//! The pages are allocated when the memory is made. A page that is missing later would be a SIGBUS where the
//! kernel has none left, and nobody could say why.
//!
//! `Frozen` is mapped `MAP_PRIVATE`: before Linux 6.7, a write-sealed file refuses shared mappings, also those for
//! reading only. With the seal there is nothing that the two could show differently.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustix::fs::{self, FallocateFlags, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{self, MapFlags, ProtFlags};
use rustix::process::{Resource, getrlimit};

use crate::sys::io::reopen::reopen;
use crate::sys::limits;

/// The alignment that the start of every mapping has, on every machine.
pub(crate) const ALIGNMENT: usize = 4096;

const NAME: &CStr = c"trine-shared";

/// How much is allocated by one call: a signal undoes a call that is not done, so a large one might never be.
const PIECE: u64 = 16 << 20;

/// Why a descriptor is not memory that can be relied on.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It is no memfd of ordinary pages.
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

/// A mapping of a whole file; of an empty one, no memory.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an address range; who may touch what is the matter of its owners below.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(
        memory: &OwnedFd,
        len: usize,
        access: ProtFlags,
        flags: MapFlags,
    ) -> rustix::io::Result<Mapping> {
        if len == 0 {
            let nowhere = std::ptr::without_provenance_mut(ALIGNMENT);
            return Ok(Mapping { base: NonNull::new(nowhere).expect("not zero"), len });
        }
        // SAFETY: a new mapping at an address of the kernel's choice replaces nothing.
        let base = unsafe { mm::mmap(std::ptr::null_mut(), len, access, flags, memory, 0) }?;
        Ok(Mapping { base: NonNull::new(base.cast()).expect("mmap does not return null"), len })
    }
}

impl Mapping {
    /// Leaves the mapping out of processes that this one forks.
    fn keep_from_children(&self) {
        if self.len > 0 {
            // SAFETY: the range is this mapping; what changes is what a new process gets.
            let _ = unsafe {
                mm::madvise(self.base.as_ptr().cast(), self.len, mm::Advice::LinuxDontFork)
            };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: the mapping is this value's own, and no borrow of it is left.
            let _ = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len) };
        }
    }
}

/// Memory that only this process has, to be filled.
#[derive(Debug)]
pub(crate) struct Draft {
    memory: OwnedFd,
    mapping: Mapping,
}

impl Draft {
    /// Makes `len` bytes of zeroes.
    ///
    /// # Errors
    ///
    /// No memory, no descriptor, or more than the process may have in one file.
    pub(crate) fn new(len: usize) -> io::Result<Draft> {
        let memory = create(NAME)?;
        // Beyond this limit the kernel would answer by a signal that ends the process.
        let most = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        if len as u64 > most.min(isize::MAX as u64) {
            return Err(Errno::FBIG.into());
        }
        fs::ftruncate(&memory, len as u64)?;
        // First, as it takes nothing yet and says whether there are as many addresses.
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let mapping = Mapping::new(&memory, len, access, MapFlags::SHARED)?;
        mapping.keep_from_children();
        allocate(&memory, len as u64)?;
        Ok(Draft { memory, mapping })
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping holds as many bytes; nobody else has it or its descriptor, which is not inherited
        // by other programs, and this borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(self.mapping.base.as_ptr(), self.mapping.len) }
    }

    /// Seals the memory as it is, for good.
    ///
    /// # Errors
    ///
    /// No memory for a mapping; a kernel that refuses the seals.
    pub(crate) fn freeze(self) -> io::Result<Frozen> {
        let Draft { memory, mapping } = self;
        let len = mapping.len;
        drop(mapping);
        seal_for_good(&memory)?;
        Ok(Frozen::map(memory, len)?)
    }

    /// Seals the size of the memory, whose bytes everybody may write who gets it.
    ///
    /// # Errors
    ///
    /// A kernel that refuses the seals.
    pub(crate) fn open(self) -> io::Result<Open> {
        fs::fcntl_add_seals(&self.memory, Open::SEALS)?;
        Ok(Open { memory: self.memory, mapping: self.mapping })
    }
}

/// Memory that is filled from its beginning to its end, by calls of the kernel: a page that is written whole is
/// never zeroed before, and there is no mapping that a forked child could have.
#[derive(Debug)]
pub(crate) struct Written {
    memory: OwnedFd,
    /// How many bytes more may be written.
    room: u64,
}

impl Written {
    /// # Errors
    ///
    /// No descriptor, or a sandbox that forbids it.
    pub(crate) fn new() -> io::Result<Written> {
        // Beyond these the kernel would answer by signals that end the process.
        let files = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
        let room = limits::available_memory().unwrap_or(u64::MAX).min(files);
        Ok(Written { memory: create(NAME)?, room })
    }

    /// Adds `bytes` at the end.
    ///
    /// # Errors
    ///
    /// There is no memory for them.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.room = self.room.checked_sub(bytes.len() as u64).ok_or(Errno::NOMEM)?;
        while !bytes.is_empty() {
            let count = rustix::io::retry_on_intr(|| rustix::io::write(&self.memory, bytes))?;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    /// Seals the memory as it is, for good: what [`Frozen::attach`] accepts.
    ///
    /// # Errors
    ///
    /// A kernel that refuses the seals.
    pub(crate) fn seal(self) -> io::Result<OwnedFd> {
        seal_for_good(&self.memory)?;
        Ok(self.memory)
    }
}

/// Memory that nobody can change any more.
#[derive(Debug)]
pub(crate) struct Frozen {
    memory: OwnedFd,
    mapping: Mapping,
}

impl Frozen {
    const SEALS: SealFlags = Open::SEALS.union(SealFlags::WRITE);

    /// Maps memory that anybody has made, if it can change no more.
    ///
    /// # Errors
    ///
    /// It can change, or is no memory; the kernel has no room for the mapping.
    pub(crate) fn attach(memory: OwnedFd) -> Result<Frozen, Unfit> {
        let len = check(&memory, Frozen::SEALS)?;
        Ok(Frozen::map(memory, len)?)
    }

    fn map(memory: OwnedFd, len: usize) -> rustix::io::Result<Frozen> {
        let mapping = Mapping::new(&memory, len, ProtFlags::READ, MapFlags::PRIVATE)?;
        Ok(Frozen { memory, mapping })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping holds as many bytes for as long as `self`; the seals, which cannot be taken off,
        // say that no process changes the bytes or their number.
        unsafe { slice::from_raw_parts(self.mapping.base.as_ptr(), self.mapping.len) }
    }
}

impl AsFd for Frozen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// Memory that any process may write at any time, of a size that cannot change.
///
/// What is there is reached through atomics only, and believed no further than the reader can check.
#[derive(Debug)]
pub(crate) struct Open {
    memory: OwnedFd,
    mapping: Mapping,
}

impl Open {
    const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

    /// Maps memory that anybody has made, if its size cannot change.
    ///
    /// # Errors
    ///
    /// As [`Frozen::attach`]; the memory is sealed against writing, too.
    pub(crate) fn attach(memory: OwnedFd) -> Result<Open, Unfit> {
        let len = check(&memory, Open::SEALS)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let mapping = Mapping::new(&memory, len, access, MapFlags::SHARED)?;
        Ok(Open { memory, mapping })
    }

    /// As [`attach`](Open::attach), by an open file of its own: one whose locks nobody else can hold or give back.
    ///
    /// # Errors
    ///
    /// As [`attach`](Open::attach), and if the file cannot be opened again.
    pub(crate) fn attach_apart(memory: BorrowedFd<'_>) -> Result<Open, Unfit> {
        check(memory, Open::SEALS)?;
        Open::attach(reopen(memory).map_err(Unfit::System)?)
    }

    /// The number at byte `offset`.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(
            offset.is_multiple_of(8) && offset.checked_add(8).is_some_and(|end| end <= self.len())
        );
        // SAFETY: aligned and within the mapping (checked), which lives as long as `self` and cannot shrink; any bytes
        // are a valid number, whoever writes them when.
        unsafe { self.base().byte_add(offset).cast().as_ref() }
    }

    /// Where the memory begins, at a multiple of [`ALIGNMENT`]; it stays there for as long as `self`.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.mapping.base
    }

    /// The size of the memory, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.mapping.len
    }
}

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}

/// Makes an empty memfd that can be sealed.
pub(in crate::sys) fn create(name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Linux 6.3: where `vm.memfd_noexec` is 2, nothing else is allowed.
    match fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => fs::memfd_create(name, flags),
        created => created,
    }
}

/// Allocates the pages of `memory`, all or none.
///
/// The kernel does not refuse what the machine does not have: it ends some process, any. So it is asked for no more
/// than there is.
fn allocate(memory: &OwnedFd, len: u64) -> rustix::io::Result<()> {
    /// How much is taken between two looks at what is left.
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

/// Adds the seals of [`Frozen`], which the kernel refuses while anybody has a writable mapping: a child that was
/// forked just before the mapping was kept from children has one until it starts its program.
fn seal_for_good(memory: &OwnedFd) -> rustix::io::Result<()> {
    const ATTEMPTS: u32 = 200;
    for _ in 0..ATTEMPTS {
        match fs::fcntl_add_seals(memory, Frozen::SEALS) {
            Err(Errno::BUSY) => std::thread::sleep(Duration::from_micros(500)),
            sealed => return sealed,
        }
    }
    Err(Errno::BUSY)
}

/// The size of memory that has these seals.
pub(in crate::sys) fn check(memory: impl AsFd, seals: SealFlags) -> Result<usize, Unfit> {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    let present = match fs::fcntl_get_seals(&memory) {
        Err(Errno::INVAL) => return Err(Unfit::NotMemory),
        present => present?,
    };
    // Huge pages can be sealed, too; one that was never written may be missing when it is read.
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
    // After the seals: from here on it is what it is.
    let size = fs::fstat(memory)?.st_size;
    usize::try_from(size).map_err(|_| Unfit::NotMemory)
}
