//! Open files of one's own: opened again through a descriptor that others have, too.
//!
//! A descriptor that is sent leads both sides to one open file, with one set of flags and one owner of locks. What is opened
//! again has its own: nobody else can make it block, or give its locks back.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

/// Opens the file behind `descriptor` again, for reading and writing: with a position, flags and locks
/// that no other descriptor shares.
///
/// # Errors
///
/// `/proc` is not there; the file is another user's; no descriptor is left.
pub(crate) fn reopen(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::io::retry_on_intr(|| fs::open(&path, flags, Mode::empty())).map_err(|error| {
        let error = io::Error::from(error);
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => error,
            _ => io::Error::new(
                error.kind(),
                format!("{path} cannot be opened, for which /proc has to be there and to allow it: {error}"),
            ),
        }
    })
}

/// Locks the byte at `place` for the open file `own`, until that is closed by everybody who has it, also by dying;
/// `false` if another one holds it. Never waits.
///
/// # Errors
///
/// The kernel has no memory for the lock.
pub(crate) fn lock_byte(own: BorrowedFd<'_>, place: u64) -> io::Result<bool> {
    match set_lock(own, place, libc::F_WRLCK) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        set => set.map(|()| true),
    }
}

/// Gives a byte back that `own` has locked.
pub(crate) fn unlock_byte(own: BorrowedFd<'_>, place: u64) {
    // The kernel may have no memory to split a range; these are of one byte.
    let _ = set_lock(own, place, libc::F_UNLCK);
}

fn set_lock(own: BorrowedFd<'_>, place: u64, how: i32) -> io::Result<()> {
    let lock = libc::flock {
        l_type: how as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: place.cast_signed(),
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the kernel reads `lock`, which is all there.
    match unsafe { libc::fcntl(own.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A pipe by which sleepers in several processes are woken: what is written is read by one of those who have it.
///
/// Open for reading and writing, so it never ends; never blocks.
///
/// # Errors
///
/// No descriptor is left; as [`reopen`].
pub(crate) fn bell() -> io::Result<OwnedFd> {
    let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC)?;
    reopen(reader.as_fd())
}

/// The same pipe, by an open file of its own; `None` if the descriptor is no pipe.
///
/// # Errors
///
/// As [`reopen`].
pub(crate) fn same_bell(descriptor: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    match FileType::from_raw_mode(fs::fstat(descriptor)?.st_mode) {
        FileType::Fifo => reopen(descriptor).map(Some),
        _ => Ok(None),
    }
}

/// Wakes one who sleeps at the pipe, or who will.
pub(crate) fn ring(bell: BorrowedFd<'_>) {
    // A full pipe rings as well.
    let _ = rustix::io::write(bell, &[1]);
}

/// Takes all that rings.
///
/// # Errors
///
/// `WouldBlock` if nothing does.
pub(crate) fn quiet(bell: BorrowedFd<'_>) -> io::Result<()> {
    rustix::io::read(bell, &mut [0_u8; 64])?;
    Ok(())
}
