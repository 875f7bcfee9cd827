//! Rights that a process gives up for good.

use std::io;

use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// Has the calling thread, and all that it starts, get no more rights by running a program than it has.
pub(crate) fn set_no_new_privileges() -> io::Result<()> {
    Ok(thread::set_no_new_privs(true)?)
}

/// Gives up all capabilities of the calling thread: what the superuser may do and others may not. Its user
/// stays, and so do the files that are its own.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(thread::set_capabilities(None, sets)?)
}
