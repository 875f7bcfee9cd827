//! Who of the processes that share some memory is there.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::io::reopen::{self, is_locked_byte, lock_byte};

/// Says to all processes that share some memory that this one is there, and tells who else is.
///
/// Each takes a number by a lock on that byte of the memory's file. The lock belongs to an opening of its
/// own (`F_OFD_SETLK`), and the kernel gives it up when that is closed, however the process ends: no number
/// of a process that could be used again, no zombie, no namespace comes into it.
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
    /// If the memory cannot be opened once more (no descriptor left, no `/proc`), or all numbers are taken.
    pub(crate) fn new(memory: impl AsFd, most: u32) -> io::Result<Presence> {
        let opening = reopen::reopen(memory.as_fd())?;
        for number in 0..most {
            if lock_byte(opening.as_fd(), number.into())? {
                return Ok(Presence { opening, number });
            }
        }
        Err(io::Error::other(format!("{most} processes use it already, which is all it can have")))
    }

    /// The own number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Whether somebody has that number.
    pub(crate) fn is_there(&self, number: u32) -> bool {
        // In doubt it is, and the caller asks again.
        number == self.number || is_locked_byte(self.opening.as_fd(), number.into()).unwrap_or(true)
    }
}
