//! Calls on Unix sockets and pipes that std does not have.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys::lift::lift_pair;

/// Makes a stream socket that is not connected and does not block.
pub(crate) fn stream() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Makes a pipe, and returns its reading and its writing end. Neither blocks.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(lift_pair(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)?)
}

/// The process at the other end of a Unix socket, as it was when the socket was connected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentials {
    /// Its process id; 0 if the caller cannot see that process.
    pub(crate) pid: u32,
    /// Its user.
    pub(crate) user: u32,
    /// Its group.
    pub(crate) group: u32,
}

/// Returns the credentials of the process at the other end of `socket`.
///
/// # Errors
///
/// If the descriptor is not open, or not a socket.
pub(crate) fn peer(socket: BorrowedFd<'_>) -> io::Result<Credentials> {
    // rustix reads the process id as one that is not 0, but the kernel gives 0 for a process that
    // this process's namespace does not show.
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, the size of `found`, a plain C struct.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Credentials { pid: found.pid.unsigned_abs(), user: found.uid, group: found.gid })
}
