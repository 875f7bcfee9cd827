//! Listing directories, a batch at a time.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::path::{Path, PathBuf};

use crate::reactor::files::{blocking, query};

/// Entries read from the kernel in one piece.
const BATCH: usize = 256;

/// Iterator over the entries of a directory, in no particular order; made by [`read_dir`].
pub struct ReadDir {
    entries: fs::ReadDir,
    batch: VecDeque<io::Result<DirEntry>>,
    ended: bool,
}

// As std's: an unwinding leaves it before an entry or after it.
impl UnwindSafe for ReadDir {}
impl RefUnwindSafe for ReadDir {}

/// One entry of a directory.
#[derive(Debug)]
pub struct DirEntry {
    entry: fs::DirEntry,
    /// None if the file system did not report it and `stat` failed.
    kind: Option<FileType>,
}

/// The entries of the directory `path`, but `.` and `..`.
///
/// # Errors
///
/// Fails as [`std::fs::read_dir`] does, and when the caller is interrupted. Entries fail for
/// the same reasons; an interruption is the last entry.
///
/// ```
/// for entry in trine::fs::read_dir("/proc/self/fd")? {
///     println!("{}", entry?.path().display());
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    query(path.as_ref(), |path| {
        let entries = fs::read_dir(path)?;
        let mut list = ReadDir { entries, batch: VecDeque::new(), ended: false };
        list.fill();
        Ok(list)
    })
}

impl ReadDir {
    fn fill(&mut self) {
        while self.batch.len() < BATCH {
            let Some(entry) = self.entries.next() else {
                self.ended = true;
                break;
            };
            self.batch
                .push_back(entry.map(|entry| DirEntry { kind: entry.file_type().ok(), entry }));
        }
    }
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        if self.batch.is_empty() && !self.ended {
            let filled = blocking(|| {
                self.fill();
                Ok(())
            });
            if let Err(error) = filled {
                self.ended = true;
                return Some(Err(error));
            }
        }
        self.batch.pop_front()
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.fmt(f)
    }
}

impl DirEntry {
    /// Returns the directory's path, as it was given, joined with the entry's name.
    pub fn path(&self) -> PathBuf {
        self.entry.path()
    }

    /// Returns the entry's name.
    pub fn file_name(&self) -> OsString {
        self.entry.file_name()
    }

    /// Returns the entry's metadata, without following a symbolic link.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::DirEntry::metadata`] does, and when the caller is interrupted.
    pub fn metadata(&self) -> io::Result<Metadata> {
        blocking(|| self.entry.metadata())
    }

    /// Returns the entry's file type, without following a symbolic link. Rarely needs a system
    /// call.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::DirEntry::file_type`] does, and when the caller is interrupted.
    pub fn file_type(&self) -> io::Result<FileType> {
        self.kind.map_or_else(|| blocking(|| self.entry.file_type()), Ok)
    }

    /// Returns the entry's inode number.
    pub fn ino(&self) -> u64 {
        self.entry.ino()
    }
}
