//! The worker's ends of the pipes that capture its output.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use crate::sys::process::descriptors;

/// Makes `outputs`, if there are two, the standard output and error of the calling process.
pub(super) fn attach(outputs: &[OwnedFd]) -> io::Result<()> {
    match outputs {
        [stdout, stderr] => descriptors::become_output(stdout.as_fd(), stderr.as_fd()),
        _ => Ok(()),
    }
}
