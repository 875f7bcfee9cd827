//! Files and directories, with std's names: whoever knows [`std::fs`] knows them.
//!
//! A call that has to wait parks the coroutine it is called in, and its carrier goes on with others; on
//! a plain thread it is std's call. What the kernel has in its caches is opened and read at once. Reads and
//! writes at an offset, and [`sync_all`](File::sync_all), else go through the carrier's `io_uring`, if it has one; the rest is
//! done on a pool of at most `max(16, 4 × cores)` threads, which block.
//!
//! ```
//! use trine::{coroutine, fs};
//!
//! # let folder = std::env::temp_dir().join(format!("trine-doc-fs-{}", std::process::id()));
//! # fs::create_dir_all(&folder)?;
//! let path = folder.join("words");
//! let task = coroutine::spawn(move || {
//!     fs::write(&path, "one task three ways")?;
//!     fs::read_to_string(&path)
//! });
//! assert_eq!(task.join()??.split(' ').count(), 4);
//! # fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Cancellation
//!
//! A call whose task is cancelled, or whose time is up, while it waits for its turn in the pool fails with
//! [`Interrupted`](crate::Interrupted) and has done nothing. Once a thread has begun it, it is waited for, and its result
//! counts; unless it changes nothing: opening without creating, [`metadata`], [`canonicalize`], [`read_link`] and the begin of
//! [`read_dir`] are left to their thread. Long calls are cut into pieces, so that they end between two: [`copy()`], [`read`], [`write()`], [`read_dir`]; they
//! leave what they have done so far. [`remove_dir_all`] and [`File::sync_all`] are done in one piece. A [`shield`](crate::shield)
//! holds interruption off: destructors of a cancelled task that remove, rename or write something need one, as
//! their calls, too, end when they would have to wait.
//!
//! # What still blocks the carrier
//!
//! Closing a file, and opening one whose path is in the caches (some network file systems ask their server then), [`Seek`](std::io::Seek), [`File::metadata`]; a read or write at a
//! file's own position while another one at the same position, through a clone or another task, is under way.
//!
//! # What has two ends
//!
//! FIFOs, terminals and other devices are waited for by readiness and hold no thread. Opening a FIFO from
//! a coroutine to read it returns at once, and the first read waits for a writer; to write it, the open looks for a
//! reader at intervals of up to 16 ms. A file of `/proc` or FUSE whose reads block for long holds a thread of the
//! pool for as long.

mod convert;
mod copy;
mod dir;
mod file;
mod options;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use std::fs::{FileTimes, FileType, Metadata, Permissions, TryLockError};

pub use copy::copy;
pub use dir::{DirEntry, ReadDir, read_dir};
pub use file::File;
pub use options::OpenOptions;

use crate::reactor::files::{self, asking, blocking};

/// Reads a whole file.
///
/// A regular file in the kernel's caches is read by one `openat2`, one `statx` and one `preadv2`.
///
/// # Errors
///
/// As [`std::fs::read`]; what interrupts the caller.
///
/// ```
/// let bytes = trine::fs::read("/proc/self/comm")?;
/// assert_eq!(bytes.last(), Some(&b'\n'));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn read<P: AsRef<Path>>(path: P) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.read_whole(&mut bytes)?;
    Ok(bytes)
}

/// Reads a whole file of text.
///
/// # Errors
///
/// As [`std::fs::read_to_string`]; what interrupts the caller.
pub fn read_to_string<P: AsRef<Path>>(path: P) -> io::Result<String> {
    file::text(read(path)?)
}

/// Writes a whole file, creating it, or replacing what it holds.
///
/// # Errors
///
/// As [`std::fs::write`]; what interrupts the caller.
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    File::create(path)?.write_all(contents.as_ref())
}

/// What `path` leads to.
///
/// # Errors
///
/// As [`std::fs::metadata`]; what interrupts the caller.
///
/// ```
/// assert!(trine::fs::metadata("/")?.is_dir());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    files::metadata(path.as_ref(), true)
}

/// What `path` is itself, also if it is a symbolic link.
///
/// # Errors
///
/// As [`std::fs::symlink_metadata`]; what interrupts the caller.
pub fn symlink_metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    files::metadata(path.as_ref(), false)
}

/// Whether `path` leads to anything.
///
/// # Errors
///
/// As [`std::fs::exists`]; what interrupts the caller.
pub fn exists<P: AsRef<Path>>(path: P) -> io::Result<bool> {
    match metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates an empty directory.
///
/// # Errors
///
/// As [`std::fs::create_dir`]; what interrupts the caller.
pub fn create_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::create_dir(path))
}

/// Creates a directory, and those it stands in where they are missing.
///
/// # Errors
///
/// As [`std::fs::create_dir_all`]; what interrupts the caller.
pub fn create_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::create_dir_all(path))
}

/// Removes an empty directory.
///
/// # Errors
///
/// As [`std::fs::remove_dir`]; what interrupts the caller.
pub fn remove_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::remove_dir(path))
}

/// Removes a directory and all that is in it, as one piece of work: once begun, it goes on to its end.
///
/// # Errors
///
/// As [`std::fs::remove_dir_all`]; what interrupts the caller before it has begun.
pub fn remove_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::remove_dir_all(path))
}

/// Removes a file.
///
/// # Errors
///
/// As [`std::fs::remove_file`]; what interrupts the caller.
pub fn remove_file<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::remove_file(path))
}

/// Gives a file or directory another name, in place of what had that name.
///
/// # Errors
///
/// As [`std::fs::rename`]; what interrupts the caller.
pub fn rename<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    blocking(|| std::fs::rename(from, to))
}

/// Gives the file `original` another name, `link`.
///
/// # Errors
///
/// As [`std::fs::hard_link`]; what interrupts the caller.
pub fn hard_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    blocking(|| std::fs::hard_link(original, link))
}

/// The absolute form of `path`, without links.
///
/// # Errors
///
/// As [`std::fs::canonicalize`]; what interrupts the caller.
pub fn canonicalize<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    asking(path.as_ref(), |path| std::fs::canonicalize(path))
}

/// What the symbolic link `path` says.
///
/// # Errors
///
/// As [`std::fs::read_link`]; what interrupts the caller.
pub fn read_link<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    asking(path.as_ref(), |path| std::fs::read_link(path))
}

/// Changes who may do what with `path`.
///
/// # Errors
///
/// As [`std::fs::set_permissions`]; what interrupts the caller.
pub fn set_permissions<P: AsRef<Path>>(path: P, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::set_permissions(path, permissions))
}
