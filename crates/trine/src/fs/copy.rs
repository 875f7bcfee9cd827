//! Copying a file, in pieces.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{File, OpenOptions};
use crate::reactor::files::blocking;

/// Bytes copied in one piece.
const PIECE: u64 = 8 << 20;

/// Copies the contents and permissions of the file `from` to `to`, and returns the number of bytes.
///
/// The kernel copies (`copy_file_range`), 8 MiB at a time. Between two pieces the caller can be
/// cancelled; the pieces copied so far stay.
///
/// # Errors
///
/// Fails as [`std::fs::copy`] does, and when the caller is interrupted.
pub fn copy<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<u64> {
    let mut source = File::open(from)?;
    let found = source.metadata()?;
    if !found.is_file() {
        let text = "the source path is neither a regular file nor a symlink to a regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let permissions = found.permissions();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(permissions.mode());
    let mut target = options.open(to)?;
    if !target.metadata()?.is_file() {
        return io::copy(&mut source, &mut target);
    }
    // Creation applied the process's umask, which a copy must not.
    target.set_permissions(permissions)?;
    let (mut reader, mut writer) = (source.as_std(), target.as_std());
    let mut copied = 0;
    loop {
        let piece = blocking(|| io::copy(&mut reader.by_ref().take(PIECE), &mut writer))?;
        copied += piece;
        if piece < PIECE {
            return Ok(copied);
        }
    }
}
