//! Names of what the kernel keeps beside its files: message queues, semaphores.

use std::ffi::CString;
use std::io;

/// The name without its slash, as the kernel takes it, and with it, as `mq_overview(7)` and programs in C
/// write it.
///
/// # Errors
///
/// `InvalidInput` for what is no such name. `most` is the number of bytes that it may have.
pub(super) fn checked(kind: &str, name: &str, most: usize) -> io::Result<(CString, String)> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let why = if bare.is_empty() {
        "is empty"
    } else if bare.contains('/') {
        "has a slash that is not at its front"
    } else if bare == "." || bare == ".." {
        "is that of a directory"
    } else if bare.len() > most {
        let text = format!("the name of a {kind} has {} bytes; it may have {most}", bare.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    } else if let Ok(name) = CString::new(bare) {
        return Ok((name, format!("/{bare}")));
    } else {
        "has a NUL in it"
    };
    let text = format!("the name of a {kind}, {name:?}, {why}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}
