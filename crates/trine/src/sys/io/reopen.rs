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
    let path = format!("/proc/thread-self/fd/{}", descriptor.as_raw_fd());
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
    lock_call(own, libc::F_OFD_SETLK, place, how).map(drop)
}

/// Whether an open file other than `own` has the byte at `place` locked.
///
/// # Errors
///
/// As [`lock_byte`].
pub(crate) fn is_locked_byte(own: BorrowedFd<'_>, place: u64) -> io::Result<bool> {
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

/// A pipe by which sleepers in several processes are woken, by a write. One of those who have it reads what was written
/// ([`ring`], [`quiet`]), or nobody does, and all of them watch for changes ([`ring_for_all`]).
///
/// Open for reading and writing, so it never ends; never blocks.
///
/// # Errors
///
/// No descriptor is left; as [`reopen`].
pub(crate) fn bell() -> io::Result<OwnedFd> {
    let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // As with a memfd, whoever has a descriptor may open it again: another user's program that one was handed to, or
    // this one after `setuid`. A sandbox may forbid the call and kill for it; there nothing brings another user.
    if !rustix::thread::no_new_privs().unwrap_or(true) {
        let _ = fs::fchmod(&reader, Mode::from_raw_mode(0o666));
    }
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

/// Wakes all who watch the pipe for changes, of which each ring is one: nobody quiets it.
pub(crate) fn ring_for_all(bell: BorrowedFd<'_>) {
    if rustix::io::write(bell, &[1]).is_err() {
        // Full. From here on it has room, and rings again.
        let _ = rustix::io::read(bell, &mut [0_u8; 4096]);
        let _ = rustix::io::write(bell, &[1]);
    }
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
