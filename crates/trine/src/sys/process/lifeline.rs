//! A lifeline: a socket pair by whose end the kernel kills a process, whichever user it runs as.
//!
//! ```text
//!   master                          process
//!   ──────                          ───────
//!   Lifeline ═════ socket pair ═══  its end: O_ASYNC, owned by itself, signal SIGKILL
//!     cut, or closed by the master's own death ──► the kernel sends SIGKILL
//! ```
//!
//! `kill` and the parent-death signal need rights over the process at the moment of the signal, and
//! a change of user on either side takes them away. For the signal of a descriptor the kernel
//! checks the rights that the process had over itself when it [held on](hold_on) to the lifeline.
//!
//! No byte ever travels here: it would be a signal, too.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::current;
use crate::sys::io::{poll, socket};

/// Sets the signal of a descriptor; from `<asm-generic/fcntl.h>`.
const F_SETSIG: libc::c_int = 10;

/// The master's end.
#[derive(Debug)]
pub(crate) struct Lifeline(OwnedFd);

impl Lifeline {
    /// Makes a lifeline: the master's end, and that of the process.
    pub(crate) fn new() -> io::Result<(Lifeline, OwnedFd)> {
        let (ours, theirs) = socket::stream_pair()?;
        Ok((Lifeline(ours), theirs))
    }

    /// Has the kernel kill the process, also if a copy of this process holds the same end.
    pub(crate) fn cut(&self) {
        socket::hang_up(&self.0);
    }
}

/// Has the kernel kill the calling process when the master cuts or closes its end; exits at once if
/// that has happened already. To be repeated after a change of user.
pub(crate) fn hold_on(end: BorrowedFd<'_>) -> io::Result<()> {
    let set = |operation, value: libc::c_int| {
        // SAFETY: these operations take a number and touch no memory.
        match unsafe { libc::fcntl(end.as_raw_fd(), operation, value) } {
            -1 => Err(io::Error::last_os_error()),
            flags => Ok(flags),
        }
    };
    set(F_SETSIG, libc::SIGKILL)?;
    set(libc::F_SETOWN, std::process::id().cast_signed())?;
    let flags = set(libc::F_GETFL, 0)?;
    set(libc::F_SETFL, flags | libc::O_ASYNC)?;
    // The end may have come before the kernel was to report it.
    if poll::receives_no_more(end.as_fd()) {
        current::exit_now(1);
    }
    Ok(())
}
