//! A connection and rings for the next worker.
//!
//! They are made while the template forks a worker, so that the next request does not wait for
//! them. They stay ready and count against the limit of descriptors, so no spare is kept above
//! half of that limit.
//!
//! A child that the program forks by itself, and that executes no other program, inherits both
//! ends of a spare connection. The master then sees the death of the worker that gets it, and not
//! that the worker closed the connection.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use crate::process::wire::rings::{self, MasterRings};
use crate::sys::io::socket;
use crate::sys::limits;

#[derive(Default)]
pub(super) struct Spare {
    connection: Option<(OwnedFd, OwnedFd)>,
    rings: Option<(MasterRings, OwnedFd)>,
}

impl Spare {
    /// Takes or makes both ends of a connection.
    pub(super) fn connection(&mut self) -> io::Result<(OwnedFd, OwnedFd)> {
        self.connection.take().map_or_else(socket::worker_pair, Ok)
    }

    /// Takes or makes rings, as [`rings::create`] does.
    pub(super) fn rings(&mut self) -> io::Result<(MasterRings, OwnedFd)> {
        self.rings.take().map_or_else(rings::create, Ok)
    }

    /// Makes the spares that are missing.
    pub(super) fn fill(&mut self) {
        if self.connection.is_none() {
            self.connection = socket::worker_pair().ok().filter(|(_, theirs)| is_cheap(theirs));
        }
        if self.rings.is_none() {
            self.rings = rings::create().ok().filter(|(_, memory)| is_cheap(memory));
        }
    }
}

/// Returns true if the program has at most half of the descriptors that it may have. The kernel
/// gives out the lowest free number.
fn is_cheap(descriptor: &OwnedFd) -> bool {
    let number = u64::from(descriptor.as_raw_fd().unsigned_abs());
    limits::descriptors().is_none_or(|most| number < most / 2)
}
