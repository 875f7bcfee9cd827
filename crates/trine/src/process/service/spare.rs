//! What a worker needs of its master before it is forked: its connection, and memory for rings.
//!
//! It is made for the next worker while the template forks this one, so that nobody waits for it. It lies ready for good, and
//! counts against the limit for descriptors: nothing does where much of that is used up. A child that the program forks by
//! itself, and that executes nothing, has both ends, too: of the worker that gets them, its master sees the death, not that it
//! has closed them.

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
    /// Both ends of a connection.
    pub(super) fn connection(&mut self) -> io::Result<(OwnedFd, OwnedFd)> {
        self.connection.take().map_or_else(socket::stream_pair, Ok)
    }

    /// As [`rings::create`].
    pub(super) fn rings(&mut self) -> io::Result<(MasterRings, OwnedFd)> {
        self.rings.take().map_or_else(rings::create, Ok)
    }

    /// Makes what is missing.
    pub(super) fn fill(&mut self) {
        if self.connection.is_none() {
            self.connection = socket::stream_pair().ok().filter(|(_, theirs)| is_cheap(theirs));
        }
        if self.rings.is_none() {
            self.rings = rings::create().ok().filter(|(_, memory)| is_cheap(memory));
        }
    }
}

/// Whether the program has no more than half of the descriptors that it may have: numbers are given from below.
fn is_cheap(descriptor: &OwnedFd) -> bool {
    let number = u64::from(descriptor.as_raw_fd().unsigned_abs());
    limits::descriptors().is_none_or(|most| number < most / 2)
}
