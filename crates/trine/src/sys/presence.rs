//! The presence of processes that share some memory: a lock for each that is alive.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::io::reopen::{self, is_locked_byte, lock_byte};

/// Shows all processes that share some memory that this process is alive, and finds which others
/// are.
///
/// Each process takes a number by a lock on that byte of the memory's file. The lock belongs to an
/// open file of its own (`F_OFD_SETLK`). The kernel releases it when that file is closed, however
/// the process ends. So neither reused process ids, nor zombies, nor namespaces matter.
#[derive(Debug)]
pub(crate) struct Presence {
    opening: OwnedFd,
    number: u32,
}

impl Presence {
    /// Takes the lowest free number below `most`.
    ///
    /// # Errors
    ///
    /// If the memory cannot be opened again (no descriptor left, no `/proc`), or all numbers are
    /// taken.
    pub(crate) fn new(memory: impl AsFd, most: u32) -> io::Result<Presence> {
        let opening = reopen::reopen(memory.as_fd())?;
        for number in 0..most {
            if lock_byte(opening.as_fd(), number.into())? {
                return Ok(Presence { opening, number });
            }
        }
        Err(io::Error::other(format!("{most} processes use it already, which is all it can have")))
    }

    /// The number of this process.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Returns true if a process has that number.
    pub(crate) fn is_there(&self, number: u32) -> bool {
        // If the kernel refuses the answer, the process counts as alive, and the caller asks again.
        number == self.number || is_locked_byte(self.opening.as_fd(), number.into()).unwrap_or(true)
    }
}
