//! Opening a file again through its descriptor, locks on single bytes, and bells between processes.
//!
//! A descriptor that is sent leads both sides to one open file, with one set of flags and one owner
//! of locks. A file that is opened again has its own: no other process can make it block, or
//! release its locks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys::lift::lift;

/// Opens the file behind `descriptor` again, for reading and writing. No other descriptor shares
/// its position, flags and locks.
///
/// # Errors
///
/// `/proc` is not mounted; the file is another user's; no descriptor is left.
pub(crate) fn reopen(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/thread-self/fd/{}", descriptor.as_raw_fd());
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = rustix::io::retry_on_intr(|| fs::open(&path, flags, Mode::empty()));
    opened.and_then(lift).map_err(|error| {
        let error = io::Error::from(error);
        match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => error,
            _ => io::Error::new(
                error.kind(),
                format!(
                    "{path} cannot be opened, for which /proc has to be mounted and to allow it: \
                     {error}"
                ),
            ),
        }
    })
}

/// Locks the byte at `place` for the open file `own`. Returns false if another open file holds the
/// lock. Never waits.
///
/// The kernel releases the lock when every process that has the open file has closed it, also by
/// dying.
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

/// Releases a byte that `own` has locked.
pub(crate) fn unlock_byte(own: BorrowedFd<'_>, place: u64) {
    // Unlocking can fail only for want of memory to split a range, and these are of one byte.
    let _ = set_lock(own, place, libc::F_UNLCK);
}

fn set_lock(own: BorrowedFd<'_>, place: u64, how: i32) -> io::Result<()> {
    lock_call(own, libc::F_OFD_SETLK, place, how).map(drop)
}

/// Returns true if an open file other than `own` has the byte at `place` locked.
///
/// # Errors
///
/// The same as for [`lock_byte`].
pub(in crate::sys) fn is_locked_byte(own: BorrowedFd<'_>, place: u64) -> io::Result<bool> {
    let found = lock_call(own, libc::F_OFD_GETLK, place, libc::F_WRLCK)?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

fn lock_call(
    own: BorrowedFd<'_>,
    command: libc::c_int,
    place: u64,
    how: i32,
) -> io::Result<libc::flock> {
    let mut lock = libc::flock {
        l_type: how as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: place.cast_signed(),
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: the kernel reads and writes `lock`, of the type that these commands take.
    match unsafe { libc::fcntl(own.as_raw_fd(), command, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock),
    }
}

/// Makes a bell: a pipe that wakes sleepers in several processes by a write.
///
/// Either one of the sleepers reads what was written ([`ring`], [`quiet`]), or none reads and all
/// of them watch for changes ([`ring_for_all`]). The pipe is open for reading and writing, so it
/// never ends; it never blocks.
///
/// # Errors
///
/// No descriptor is left; otherwise as [`reopen`].
pub(crate) fn bell() -> io::Result<OwnedFd> {
    let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // Like a memfd, every process that has a descriptor may open it again. This matters to
    // another user's program that received one, and to this program after `setuid`. A sandbox may
    // forbid the call and kill for it, but in a sandbox the user cannot change.
    if !rustix::thread::no_new_privs().unwrap_or(true) {
        let _ = fs::fchmod(&reader, Mode::from_raw_mode(0o666));
    }
    reopen(reader.as_fd())
}

/// Returns the same pipe through an open file of its own; `None` if the descriptor is not a pipe.
///
/// # Errors
///
/// The same as for [`reopen`].
pub(crate) fn same_bell(descriptor: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    match FileType::from_raw_mode(fs::fstat(descriptor)?.st_mode) {
        FileType::Fifo => reopen(descriptor).map(Some),
        _ => Ok(None),
    }
}

/// Wakes one process that sleeps at the pipe, now or when it next sleeps.
pub(crate) fn ring(bell: BorrowedFd<'_>) {
    // A full pipe rings as well.
    let _ = rustix::io::write(bell, &[1]);
}

/// Wakes all processes that watch the pipe for changes. Each ring is a change, and no process
/// reads.
pub(crate) fn ring_for_all(bell: BorrowedFd<'_>) {
    if rustix::io::write(bell, &[1]).is_err() {
        // The pipe is full. Reading makes room, so that the next write is a change.
        let _ = rustix::io::read(bell, &mut [0_u8; 4096]);
        let _ = rustix::io::write(bell, &[1]);
    }
}

/// Stops the ringing.
///
/// # Errors
///
/// `WouldBlock` if the bell does not ring.
pub(crate) fn quiet(bell: BorrowedFd<'_>) -> io::Result<()> {
    rustix::io::read(bell, &mut [0_u8; 64])?;
    Ok(())
}
