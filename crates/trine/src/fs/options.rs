//! Opening files: options, and the calls of [`File`] that open with common ones.

use std::io;
use std::path::Path;

use super::File;
use crate::reactor::files;
use crate::sys::io::file::flags;

/// Options for opening a file, as [`std::fs::OpenOptions`].
///
/// ```
/// use std::io::Write;
/// use trine::fs::{self, OpenOptions};
///
/// # let path = std::env::temp_dir().join(format!("trine-doc-options-{}", std::process::id()));
/// let mut log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
/// log.write_all(b"begun\n")?;
/// # fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
// One flag for each of std's methods.
#[allow(clippy::struct_excessive_bools)]
pub struct OpenOptions {
    read: bool,
    write: bool,
    append: bool,
    truncate: bool,
    create: bool,
    create_new: bool,
    custom_flags: i32,
    mode: u32,
}

impl OpenOptions {
    /// Returns options that allow nothing yet.
    #[must_use]
    pub fn new() -> OpenOptions {
        OpenOptions {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            custom_flags: 0,
            mode: 0o666,
        }
    }

    /// Allows or forbids reading.
    pub fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.read = read;
        self
    }

    /// Allows or forbids writing.
    pub fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.write = write;
        self
    }

    /// Makes each write go to the end of the file, as it is at that moment.
    pub fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.append = append;
        self
    }

    /// Empties the file when it is opened.
    pub fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.truncate = truncate;
        self
    }

    /// Creates the file if it is missing.
    pub fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.create = create;
        self
    }

    /// Requires that the file is new; `create` and `truncate` are then ignored.
    pub fn create_new(&mut self, create_new: bool) -> &mut OpenOptions {
        self.create_new = create_new;
        self
    }

    /// Passes more flags to `open(2)`. With `O_NONBLOCK`, no call waits for the other end of a
    /// FIFO: it returns `WouldBlock`, as in std.
    pub fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.custom_flags = flags;
        self
    }

    /// Sets the permissions of a created file, less the process's umask; 0o666 by default.
    pub fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.mode = mode;
        self
    }

    /// Opens `path` with these options.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::OpenOptions::open`] does, and when the caller is interrupted.
    pub fn open<P: AsRef<Path>>(&self, path: P) -> io::Result<File> {
        let flags = self.access()? | self.creation()? | (self.custom_flags & !flags::ACCESS);
        files::open(path.as_ref(), flags, self.mode).map(File::of)
    }

    fn access(&self) -> io::Result<i32> {
        match (self.read, self.write, self.append) {
            (true, false, false) => Ok(flags::READ),
            (false, true, false) => Ok(flags::WRITE),
            (true, true, false) => Ok(flags::READ_WRITE),
            (false, _, true) => Ok(flags::WRITE | flags::APPEND),
            (true, _, true) => Ok(flags::READ_WRITE | flags::APPEND),
            (false, false, false) => Err(self.refused()),
        }
    }

    fn creation(&self) -> io::Result<i32> {
        let creates = self.truncate || self.create || self.create_new;
        let only_read = !self.write && !self.append;
        if (only_read && creates) || (self.append && self.truncate && !self.create_new) {
            return Err(self.refused());
        }
        Ok(match (self.create, self.truncate, self.create_new) {
            (false, false, false) => 0,
            (true, false, false) => flags::CREATE,
            (false, true, false) => flags::TRUNCATE,
            (true, true, false) => flags::CREATE | flags::TRUNCATE,
            (_, _, true) => flags::CREATE | flags::EXCLUSIVE,
        })
    }

    /// Returns std's error for options that contradict each other.
    #[cold]
    fn refused(&self) -> io::Error {
        let mut options = std::fs::OpenOptions::new();
        options.read(self.read).write(self.write).append(self.append);
        options.truncate(self.truncate).create(self.create).create_new(self.create_new);
        let refused = options.open("").err();
        refused.unwrap_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl File {
    /// Opens a file for reading.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::open`] does, and when the caller is interrupted.
    pub fn open<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file for writing: creates it, or empties it.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::create`] does, and when the caller is interrupted.
    pub fn create<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Creates a file for reading and writing; fails if the name is taken.
    ///
    /// # Errors
    ///
    /// Fails as [`std::fs::File::create_new`] does, and when the caller is interrupted.
    pub fn create_new<P: AsRef<Path>>(path: P) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// Returns options for opening a file.
    #[must_use]
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions::new()
    }
}
