//! Files and directories, with the names and meanings of [`std::fs`].
//!
//! In a coroutine, a call that has to wait parks the coroutine, and its carrier runs others. On a
//! plain thread it is std's call. Files in the kernel's caches are opened and read at once. Other
//! reads and writes at an offset, and [`sync_all`](File::sync_all), go through the carrier's
//! `io_uring` if it has one. All other calls block a thread of a pool of at most `max(16, 4 ×
//! cores)`, which serves files alone: look-ups of names have another.
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
//! A call that is cancelled, or out of time, while it waits for its turn in the pool fails with
//! [`Interrupted`](crate::Interrupted) and has done nothing.
//!
//! A call that changes something and has begun is awaited, and its result counts. A call that only
//! asks is abandoned to its thread: opening without creating, [`metadata`], [`canonicalize`],
//! [`read_link`] and the start of [`read_dir`].
//!
//! [`copy()`], [`read`], [`write()`] and [`read_dir`] work in pieces and can end between two; the
//! pieces done so far stay. [`remove_dir_all`] and [`File::sync_all`] are one piece.
//!
//! A [`shield`](crate::shield) holds interruption off. Destructors of a cancelled task need one to
//! remove, rename or write files, since their calls also end where they would have to wait.
//!
//! # Calls that still block the carrier
//!
//! - closing a file,
//! - opening a file whose path is in the caches, where a network file system asks its server,
//! - [`Seek`](std::io::Seek) and [`File::metadata`],
//! - a read or write at the file's own position, while another task or clone uses the same
//!   position.
//!
//! # The limit for files
//!
//! A write beyond `ulimit -f` ends the program by SIGXFSZ, as with std. A program that ignores the
//! signal gets an error of the kind `FileTooLarge`.
//!
//! # FIFOs, terminals, devices
//!
//! These are awaited by readiness and hold no thread. In a coroutine, opening a FIFO for reading
//! returns at once, and the first read waits for a writer. Opening one for writing retries at
//! intervals of up to 16 ms until there is a reader.
//!
//! A terminal that other code has opened, such as standard input, may not be made one that never
//! blocks, since other programs share that setting. Its reads, and its writes, are made one after
//! the other by one thread when it is ready. A call sleeps there if another program reads the line
//! first, or if there is room for a part of what is written. It is waited for, even if its caller
//! is cancelled. Other files and terminals are not held up.
//!
//! A file of FUSE whose reads block holds a pool thread for that time.

// | file | contents |
// |---|---|
// | `mod.rs` | calls on paths |
// | `file.rs` | `File`: reading, writing, locking |
// | `options.rs` | opening: `OpenOptions`, `File::open` |
// | `convert.rs` | a `File` from and to std's, from and to a descriptor |
// | `copy.rs` | `copy()`, in pieces |
// | `dir.rs` | `read_dir`, in batches |

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

use crate::reactor::files::{self, blocking, query};

/// Reads a whole file.
///
/// A regular file in the kernel's caches is read by one `openat2`, one `statx` and one `preadv2`.
///
/// # Errors
///
/// Fails as [`std::fs::read`] does, and when the caller is interrupted.
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
/// Fails as [`std::fs::read_to_string`] does, and when the caller is interrupted.
pub fn read_to_string<P: AsRef<Path>>(path: P) -> io::Result<String> {
    file::text(read(path)?)
}

/// Writes a whole file: creates it, or replaces its contents.
///
/// # Errors
///
/// Fails as [`std::fs::write`] does, and when the caller is interrupted.
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    File::create(path)?.write_all(contents.as_ref())
}

/// Returns the metadata of the file that `path` leads to.
///
/// # Errors
///
/// Fails as [`std::fs::metadata`] does, and when the caller is interrupted.
///
/// ```
/// assert!(trine::fs::metadata("/")?.is_dir());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    files::metadata(path.as_ref(), true)
}

/// Returns the metadata of `path` itself, without following a symbolic link.
///
/// # Errors
///
/// Fails as [`std::fs::symlink_metadata`] does, and when the caller is interrupted.
pub fn symlink_metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    files::metadata(path.as_ref(), false)
}

/// Returns true if `path` leads to a file of any kind.
///
/// # Errors
///
/// Fails as [`std::fs::exists`] does, and when the caller is interrupted.
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
/// Fails as [`std::fs::create_dir`] does, and when the caller is interrupted.
pub fn create_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::create_dir(path))
}

/// Creates a directory and all missing directories above it.
///
/// # Errors
///
/// Fails as [`std::fs::create_dir_all`] does, and when the caller is interrupted.
pub fn create_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::create_dir_all(path))
}

/// Removes an empty directory.
///
/// # Errors
///
/// Fails as [`std::fs::remove_dir`] does, and when the caller is interrupted.
pub fn remove_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::remove_dir(path))
}

/// Removes a directory with all its contents, as one piece: once begun, it runs to its end.
///
/// # Errors
///
/// Fails as [`std::fs::remove_dir_all`] does, and when the caller is interrupted
/// before it begins.
pub fn remove_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::remove_dir_all(path))
}

/// Removes a file.
///
/// # Errors
///
/// Fails as [`std::fs::remove_file`] does, and when the caller is interrupted.
pub fn remove_file<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::remove_file(path))
}

/// Renames a file or directory, replacing the file that had the new name.
///
/// # Errors
///
/// Fails as [`std::fs::rename`] does, and when the caller is interrupted.
pub fn rename<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    blocking(|| std::fs::rename(from, to))
}

/// Gives the file `original` a second name, `link`.
///
/// # Errors
///
/// Fails as [`std::fs::hard_link`] does, and when the caller is interrupted.
pub fn hard_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    blocking(|| std::fs::hard_link(original, link))
}

/// Returns the absolute form of `path`, with all symbolic links resolved.
///
/// # Errors
///
/// Fails as [`std::fs::canonicalize`] does, and when the caller is interrupted.
pub fn canonicalize<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    query(path.as_ref(), |path| std::fs::canonicalize(path))
}

/// Returns the target of the symbolic link `path`.
///
/// # Errors
///
/// Fails as [`std::fs::read_link`] does, and when the caller is interrupted.
pub fn read_link<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    query(path.as_ref(), |path| std::fs::read_link(path))
}

/// Changes the permissions of `path`.
///
/// # Errors
///
/// Fails as [`std::fs::set_permissions`] does, and when the caller is interrupted.
pub fn set_permissions<P: AsRef<Path>>(path: P, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref();
    blocking(|| std::fs::set_permissions(path, permissions))
}
