//! Names of kernel objects that are not files: message queues and semaphores.

use std::ffi::CString;
use std::io;

/// Checks `name`, and returns it without its slash, as the kernel takes it, and with it, as
/// `mq_overview(7)` and C programs write it.
///
/// # Errors
///
/// Fails with `InvalidInput` for an invalid name, and for one of more than `most` bytes.
pub(super) fn checked(kind: &str, name: &str, most: usize) -> io::Result<(CString, String)> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let why = if bare.is_empty() {
        "is empty"
    } else if bare.contains('/') {
        "contains a slash that does not lead it"
    } else if bare == "." || bare == ".." {
        "is the name of a directory"
    } else if bare.len() > most {
        let text = format!("the name of a {kind} has {} bytes; it may have {most}", bare.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    } else if let Ok(name) = CString::new(bare) {
        return Ok((name, format!("/{bare}")));
    } else {
        "contains a NUL"
    };
    let text = format!("the name of a {kind}, {name:?}, {why}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}
