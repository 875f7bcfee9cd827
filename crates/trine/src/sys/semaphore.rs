//! The memory of a semaphore that processes share, in the form of the C library's `sem_t`.
//!
//! ```text
//!  0         4           8         12                                   32
//!  ┌─────────┬───────────┬─────────┬─────────────────────────────────────┐
//!  │ permits │ sleepers  │ 128     │                                     │
//!  └─────────┴───────────┴─────────┴─────────────────────────────────────┘
//!  the futex │           └ "shared between processes"
//!  └ one atomic word of 64 bits ┘
//! ```
//!
//! This is `struct new_sem` of glibc, 64-bit, since 2.21 (`sysdeps/nptl/internaltypes.h`). A named
//! semaphore is the file `/dev/shm/sem.NAME`; an unnamed semaphore is sealed memory, whose
//! descriptor travels.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::fs::{self, AtFlags, CWD, FallocateFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::io::owner::Named;
use super::limits::{self, file_size::without_signal};
use super::memory::mapping::Mapping;
use super::memory::memfd::{self, FIXED_SIZE};

/// The number of bytes of a `sem_t`.
const SIZE: u64 = 32;
/// The most bytes of a name: those of a file name, less `sem.`.
pub(crate) const LONGEST_NAME: usize = 251;

const _: () = assert!(cfg!(target_endian = "little"), "the permits are the first half of the word");

/// The reason why a named semaphore was not opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// It is refused for its owner or mode.
    Owner(io::Error),
    /// It could not be opened; see [`explain`].
    System(io::Error),
}

impl<E: Into<io::Error>> From<E> for OpenError {
    fn from(error: E) -> OpenError {
        OpenError::System(error.into())
    }
}

/// A mapping of one semaphore.
#[derive(Debug)]
pub(crate) struct Memory {
    mapping: Mapping,
}

impl Memory {
    /// Makes an unnamed semaphore, and the descriptor by which another process can
    /// [`attach`](Memory::attach) to it.
    ///
    /// # Errors
    ///
    /// No descriptor or no memory is left.
    pub(crate) fn create(permits: u32) -> io::Result<(Memory, OwnedFd)> {
        let make = || -> io::Result<OwnedFd> {
            let memory = memfd::create(c"trine-semaphore")?;
            fill(&memory, permits)?;
            fs::fcntl_add_seals(&memory, FIXED_SIZE)?;
            Ok(memory)
        };
        let explain = |error: io::Error| {
            io::Error::new(error.kind(), limits::explain_missing("memory for a semaphore", &error))
        };
        let memory = make().map_err(explain)?;
        Ok((Memory::map(&memory).map_err(explain)?, memory))
    }

    /// Maps a semaphore that another process has made, if its size is right and fixed.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the descriptor is something else.
    pub(crate) fn attach(memory: impl AsFd) -> io::Result<Memory> {
        let sealed = fs::fcntl_get_seals(&memory).is_ok_and(|seals| seals.contains(FIXED_SIZE));
        if !sealed || u64::try_from(fs::fstat(&memory)?.st_size) != Ok(SIZE) {
            let text =
                "the descriptor is not that of an unnamed semaphore: sealed memory of 32 bytes";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        take_room(&memory)?;
        Memory::map(memory)
    }

    /// Opens the semaphore with this name, if it is one that `named` accepts.
    ///
    /// # Errors
    ///
    /// The kernel's ([`explain`]); `InvalidData` for a file that is not a semaphore; that of
    /// [`Named::check`].
    pub(crate) fn open(name: &CStr, named: Option<&Named<'_>>) -> Result<Memory, OpenError> {
        // These flags neither wait for the other end of a FIFO, nor follow a symbolic link.
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = fs::openat(CWD, path(name), flags, Mode::empty())?;
        let found = fs::fstat(&file)?;
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        if !is_file || u64::try_from(found.st_size).is_ok_and(|size| size < SIZE) {
            let text = match is_file {
                true => format!(
                    "it has {} bytes, and those of 64-bit programs have {SIZE}",
                    found.st_size
                ),
                false => "it is no file".to_owned(),
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, text).into());
        }
        named.map_or(Ok(()), |named| named.check(&file)).map_err(OpenError::Owner)?;
        take_room(&file)?;
        Ok(Memory::map(file)?)
    }

    /// Makes a semaphore with this name, which becomes visible when it is complete.
    ///
    /// # Errors
    ///
    /// The kernel's ([`explain`]).
    pub(crate) fn create_named(name: &CStr, mode: u32, permits: u32) -> io::Result<Memory> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = fs::openat(CWD, FOLDER, flags, Mode::from_bits_truncate(mode))?;
        fill(&file, permits)?;
        let memory = Memory::map(&file)?;
        match fs::linkat(&file, c"", CWD, path(name), AtFlags::EMPTY_PATH) {
            // Before Linux 6.10, refused to processes without a privilege.
            Err(Errno::NOENT | Errno::PERM) => {
                let own = format!("/proc/self/fd/{}", file.as_raw_fd());
                let linked = fs::linkat(CWD, &own, CWD, path(name), AtFlags::SYMLINK_FOLLOW);
                linked.map_err(|error| match error {
                    Errno::NOENT => io::Error::other(format!("no {own}: /proc is not mounted")),
                    error => error.into(),
                })?;
            }
            linked => linked?,
        }
        Ok(memory)
    }

    fn map(memory: impl AsFd) -> io::Result<Memory> {
        Ok(Memory { mapping: Mapping::shared(memory, 0, SIZE as usize)? })
    }

    /// The word with the permits in the lower half, and the sleepers in the upper.
    pub(crate) fn word(&self) -> &AtomicU64 {
        // SAFETY: the beginning of the mapping, which is aligned and lives as long as `self`. Its
        // page is in memory and the file was large enough. A named one stays so by the promise of
        // every process that may write it (docs/SOUNDNESS.md). Any bytes are a valid `AtomicU64`.
        unsafe { self.mapping.base().cast::<AtomicU64>().as_ref() }
    }

    /// The half that threads sleep on; for the kernel only.
    pub(crate) fn futex(&self) -> &AtomicU32 {
        // SAFETY: as above, of the first half. No code reads or writes by this reference: its
        // address is handed to the kernel, so there are no accesses of two sizes in this process.
        unsafe { self.mapping.base().cast::<AtomicU32>().as_ref() }
    }
}

/// Removes the name of a semaphore.
pub(crate) fn unlink(name: &CStr) -> io::Result<()> {
    Ok(fs::unlinkat(CWD, path(name), AtFlags::empty())?)
}

const FOLDER: &str = "/dev/shm";

/// Returns the file of the semaphore with this name, to be shown.
pub(crate) fn shown_path(name: &CStr) -> String {
    path(name).to_string_lossy().into_owned()
}

fn path(name: &CStr) -> CString {
    let path = [FOLDER.as_bytes(), b"/sem.", name.to_bytes()].concat();
    CString::new(path).expect("no NUL in either")
}

/// Writes a new semaphore, which allocates its page. A mapping alone would find out too late that
/// there is no room (SIGBUS).
fn fill(file: &OwnedFd, permits: u32) -> io::Result<()> {
    without_signal(|| fill_now(file, permits))
}

fn fill_now(file: &OwnedFd, permits: u32) -> io::Result<()> {
    let mut bytes = [0_u8; SIZE as usize];
    bytes[..4].copy_from_slice(&permits.to_ne_bytes());
    bytes[8..12].copy_from_slice(&128_u32.to_ne_bytes());
    match rustix::io::retry_on_intr(|| rustix::io::pwrite(file, &bytes, 0))? {
        count if count == bytes.len() => Ok(()),
        _ => Err(Errno::NOSPC.into()),
    }
}

/// Allocates the page of a file that may have none.
fn take_room(file: impl AsFd) -> io::Result<()> {
    let taken =
        rustix::io::retry_on_intr(|| fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, SIZE));
    match taken {
        // Another kind of file system, which does not run out of memory.
        Err(Errno::OPNOTSUPP) => Ok(()),
        taken => Ok(taken?),
    }
}

/// Explains why `what` ("open the semaphore /x") was refused, and what helps.
#[cold]
pub(crate) fn explain(what: &str, error: io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => format!(
            "{FOLDER} is full: remove what was left there (`ls -l {FOLDER}`), or make it larger \
             (`mount -o remount,size=SIZE {FOLDER}`; `--shm-size` of a container)"
        ),
        Some(libc::EACCES | libc::EPERM) => format!(
            "this user may not: see the mode that its creator has given it, and that of {FOLDER} \
             (`ls -la {FOLDER}`)"
        ),
        Some(libc::ENOENT) if !std::path::Path::new(FOLDER).is_dir() => {
            format!("there is no {FOLDER}: mount it (`mount -t tmpfs none {FOLDER}`)")
        }
        Some(libc::ENOENT) => "there is none of this name".into(),
        Some(libc::EEXIST) => "there is one of this name already".into(),
        Some(libc::ELOOP) => {
            let text = format!("cannot {what}: it is a symbolic link");
            return io::Error::new(io::ErrorKind::InvalidData, text);
        }
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EFBIG) => {
            limits::explain_missing("descriptor or memory", &error)
        }
        _ => error.to_string(),
    };
    io::Error::new(error.kind(), format!("cannot {what}: {why}"))
}
