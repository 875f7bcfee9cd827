//! Starting children beside tests that watch their descriptors.
//!
//! Between `fork` and `exec` a child holds a copy of every descriptor of this process. So the last
//! end of a pipe or a socket may stay open a moment longer than its owner keeps it. A test that
//! expects an end to be closed at once keeps children from starting meanwhile.

use std::io;
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

static STARTS: RwLock<()> = RwLock::new(());

/// Keeps children from starting until the guard is dropped.
pub fn no_child_starts() -> RwLockWriteGuard<'static, ()> {
    STARTS.write().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a child, as soon as no test keeps it from starting.
pub fn start(command: &mut Command) -> io::Result<Child> {
    let _may_start = STARTS.read().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}
