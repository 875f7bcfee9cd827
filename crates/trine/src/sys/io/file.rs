//! Files: opening, reading and writing them, each also as an attempt that does not sleep.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::Blocking;

/// The flags of `open(2)`.
pub(crate) mod flags {
    pub(crate) const READ: i32 = libc::O_RDONLY;
    pub(crate) const WRITE: i32 = libc::O_WRONLY;
    pub(crate) const READ_WRITE: i32 = libc::O_RDWR;
    /// The bits that hold one of the above.
    pub(crate) const ACCESS: i32 = libc::O_ACCMODE;
    pub(crate) const APPEND: i32 = libc::O_APPEND;
    pub(crate) const CREATE: i32 = libc::O_CREAT;
    pub(crate) const EXCLUSIVE: i32 = libc::O_EXCL;
    pub(crate) const TRUNCATE: i32 = libc::O_TRUNC;
    pub(crate) const NONBLOCKING: i32 = libc::O_NONBLOCK;
    pub(crate) const NO_FOLLOW: i32 = libc::O_NOFOLLOW;
    /// The file's name only: no reading or writing.
    pub(crate) const PATH: i32 = libc::O_PATH;
}

/// The most bytes that a ready pipe is guaranteed to take without sleeping.
pub(crate) const PIPE_BUFFER: usize = libc::PIPE_BUF;

/// Opens a file that closes on `exec`; sleeps as often as necessary.
pub(crate) fn open(path: &Path, flags: i32, mode: u32) -> io::Result<File> {
    let flags = OFlags::from_bits_retain(flags.cast_unsigned()) | OFlags::CLOEXEC;
    let mode = Mode::from_bits_retain(mode);
    let opened = rustix::io::retry_on_intr(|| rustix::fs::openat(CWD, path, flags, mode));
    opened.map(File::from).map_err(|error| explain_path(path, error))
}

/// Like [`open`], if the kernel has the whole path cached; `None` if it has not, or does not report
/// it.
pub(crate) fn open_cached(path: &Path, flags: i32) -> Option<io::Result<File>> {
    /// True if the kernel (before 5.6) or a sandbox has no such call.
    static MISSING: AtomicBool = AtomicBool::new(false);
    if flags & (libc::O_CREAT | libc::O_TRUNC) != 0 || MISSING.load(Relaxed) {
        return None;
    }
    let flags = OFlags::from_bits_retain(flags.cast_unsigned()) | OFlags::CLOEXEC;
    match rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(descriptor) => Some(Ok(File::from(descriptor))),
        Err(rustix::io::Errno::NOSYS) => {
            MISSING.store(true, Relaxed);
            None
        }
        // A sandbox returns EPERM. A kernel before 5.12, or one that gets an unknown flag, returns
        // EINVAL. Both may also be the true result, which the next attempt shows.
        Err(
            rustix::io::Errno::AGAIN
            | rustix::io::Errno::INTR
            | rustix::io::Errno::PERM
            | rustix::io::Errno::INVAL
            | rustix::io::Errno::TOOBIG,
        ) => None,
        Err(error) => Some(Err(error.into())),
    }
}

#[cold]
fn explain_path(path: &Path, error: rustix::io::Errno) -> io::Error {
    if error == rustix::io::Errno::INVAL && path.as_os_str().as_bytes().contains(&0) {
        let text = "file name contained an unexpected NUL byte";
        return io::Error::new(io::ErrorKind::InvalidInput, text);
    }
    error.into()
}

/// Returns true if a call failed because it would sleep, or cannot tell whether it would.
pub(crate) fn would_sleep(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS))
}

/// Returns true if an open failed because the other end is not open, or there is no such device.
pub(crate) fn has_no_peer(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENXIO)
}

/// Returns true if calls on `file` fail with `WouldBlock` instead of sleeping.
pub(crate) fn is_nonblocking(file: &File) -> io::Result<bool> {
    Ok(rustix::fs::fcntl_getfl(file)?.contains(OFlags::NONBLOCK))
}

/// The most bytes of one buffer that an attempt reads. It does not sleep, but it copies: up to 0.1
/// us for each KiB.
pub(crate) const PIECE: usize = 256 * 1024;

/// Reads at `offset`, or at the file's own position, which it moves.
pub(crate) fn read(
    file: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    offset: Option<u64>,
    blocking: Blocking,
) -> io::Result<usize> {
    // SAFETY: std lays an `IoSliceMut` out as an `iovec`, and the memory is borrowed exclusively.
    unsafe { read_into(file, buffers.as_mut_ptr().cast(), buffers.len(), offset, blocking) }
}

/// Like [`read`], into memory that may be uninitialised; returns how much of it was written.
fn read_uninit(
    file: BorrowedFd<'_>,
    buffer: &mut [MaybeUninit<u8>],
    offset: Option<u64>,
    blocking: Blocking,
) -> io::Result<usize> {
    let vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: the kernel only writes to the memory, which is borrowed exclusively.
    unsafe { read_into(file, &raw const vector, 1, offset, blocking) }
}

/// Appends at most as many bytes to `buffer` as it has spare capacity.
pub(crate) fn read_behind(
    file: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    offset: Option<u64>,
    blocking: Blocking,
) -> io::Result<usize> {
    let count = read_uninit(file, buffer.spare_capacity_mut(), offset, blocking)?;
    let len = buffer.len() + count;
    // SAFETY: the kernel has written the first `count` bytes behind the old length.
    unsafe { buffer.set_len(len) };
    Ok(count)
}

/// # Safety
///
/// `vectors` points to `count` vectors of memory that may be written.
unsafe fn read_into(
    file: BorrowedFd<'_>,
    vectors: *const libc::iovec,
    count: usize,
    offset: Option<u64>,
    blocking: Blocking,
) -> io::Result<usize> {
    let (mut vectors, mut count) = (vectors, vector_count(count));
    // SAFETY: the caller's promise, for the first of them.
    let mut first = unsafe { vectors.as_ref() }.filter(|_| count > 0).copied();
    if let Some(first) = first.as_mut().filter(|first| first.iov_len > PIECE)
        && blocking == Blocking::No
    {
        first.iov_len = PIECE;
        (vectors, count) = (&raw const *first, 1);
    }
    let (offset, flags) = (position(offset)?, call_flags(blocking));
    // SAFETY: the caller's promise; the kernel uses at most the vectors given, or a part of the
    // first.
    answer(unsafe { libc::preadv2(file.as_raw_fd(), vectors, count, offset, flags) })
}

/// Writes at `offset`, or at the file's own position, which it moves.
pub(crate) fn write(
    file: BorrowedFd<'_>,
    buffers: &[IoSlice<'_>],
    offset: Option<u64>,
    blocking: Blocking,
) -> io::Result<usize> {
    let (vectors, count) = (buffers.as_ptr().cast(), vector_count(buffers.len()));
    let (offset, flags) = (position(offset)?, call_flags(blocking));
    // SAFETY: std lays an `IoSlice` out as an `iovec`; the kernel only reads the memory.
    answer(unsafe { libc::pwritev2(file.as_raw_fd(), vectors, count, offset, flags) })
}

/// Converts an offset. -1 means the file's own position, so a caller must not pass it.
fn position(offset: Option<u64>) -> io::Result<i64> {
    match offset {
        None => Ok(-1),
        Some(offset) => {
            i64::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
        }
    }
}

/// Limits the number of vectors to what the kernel accepts in one call.
fn vector_count(count: usize) -> i32 {
    i32::try_from(count.min(libc::UIO_MAXIOV as usize)).unwrap_or(libc::UIO_MAXIOV)
}

fn call_flags(blocking: Blocking) -> i32 {
    match blocking {
        Blocking::Yes => 0,
        Blocking::No => libc::RWF_NOWAIT,
    }
}

fn answer(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
