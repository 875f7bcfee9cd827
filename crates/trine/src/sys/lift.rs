//! Keeps the library's own descriptors above those of the standard streams.
//!
//! The kernel gives out the lowest free number. In a program that has closed its standard input,
//! output or error, a new socket would get number 0, 1 or 2, and `println!` would write into it. So
//! each function that makes a descriptor for the library passes it through here. Numbers 0 to 2
//! stay as the program has left them.
//!
//! A descriptor has its low number from the kernel's call until it is moved. Output that another
//! thread writes to a closed stream within that moment still reaches it.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{self, CWD, Mode, OFlags};
use rustix::io;

/// The highest number of a standard stream.
const LAST_STREAM: i32 = 2;

/// Returns `descriptor`, moved if it has the number of a standard stream.
///
/// # Errors
///
/// No descriptor is left.
#[inline]
pub(crate) fn lift(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if is_low(&descriptor) {
        io::fcntl_dupfd_cloexec(descriptor, LAST_STREAM + 1)
    } else {
        Ok(descriptor)
    }
}

/// Does the same for both of a pair.
pub(crate) fn lift_pair((one, other): (OwnedFd, OwnedFd)) -> io::Result<(OwnedFd, OwnedFd)> {
    Ok((lift(one)?, lift(other)?))
}

/// Makes a value that keeps its descriptor to itself, by `make`. If that has a low number, makes it
/// once more while the low numbers are taken.
///
/// # Errors
///
/// Those of `make`; no descriptor is left.
pub(crate) fn lifted<T: AsRawFd>(make: impl Fn() -> std::io::Result<T>) -> std::io::Result<T> {
    let first = make()?;
    if !is_low(&first) {
        return Ok(first);
    }
    drop(first);
    let mut places = Vec::new();
    loop {
        // Reading from this and writing to it fail, as they do while the number is closed.
        let place = fs::openat(CWD, c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let is_taken = !is_low(&place);
        places.push(place);
        if is_taken {
            break;
        }
    }
    make()
}

fn is_low(descriptor: &impl AsRawFd) -> bool {
    descriptor.as_raw_fd() <= LAST_STREAM
}
