//! New rights by `exec`, and capabilities: a process gives both up permanently.

use std::io;

use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// Keeps the calling thread, and all that it starts, from getting more rights by running a program.
pub(crate) fn set_no_new_privileges() -> io::Result<()> {
    Ok(thread::set_no_new_privs(true)?)
}

/// Gives up all capabilities of the calling thread: the rights that distinguish the superuser. Its
/// user and the files that it owns stay the same.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(thread::set_capabilities(None, sets)?)
}
