//! Conversions of an open file from and to std's, from and to a descriptor.

use std::fmt;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::process::Stdio;

use super::File;
use crate::reactor::files::Opened;

/// Takes a file opened elsewhere. Its flags stay, and waiting for it works all the same.
impl From<fs::File> for File {
    fn from(file: fs::File) -> File {
        File::of(Opened::of(file))
    }
}

impl From<OwnedFd> for File {
    fn from(descriptor: OwnedFd) -> File {
        fs::File::from(descriptor).into()
    }
}

impl From<File> for fs::File {
    fn from(file: File) -> fs::File {
        file.into_std()
    }
}

impl From<File> for OwnedFd {
    fn from(file: File) -> OwnedFd {
        fs::File::from(file).into()
    }
}

/// Lets a child process read from the file, or write to it.
///
/// ```
/// use trine::fs::{self, File};
/// use trine::process::Command;
///
/// let path = std::env::temp_dir().join(format!("stdio-{}", std::process::id()));
/// Command::new("echo").arg("three ways").stdout(File::create(&path)?).status()?;
/// assert_eq!(fs::read_to_string(&path)?, "three ways\n");
/// fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
impl From<File> for Stdio {
    fn from(file: File) -> Stdio {
        fs::File::from(file).into()
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.as_std().as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.as_std().as_raw_fd()
    }
}

impl IntoRawFd for File {
    fn into_raw_fd(self) -> RawFd {
        OwnedFd::from(self).into_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_std().fmt(f)
    }
}
