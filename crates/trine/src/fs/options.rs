//! How a file is opened.

use std::io;
use std::path::Path;

use super::File;
use crate::reactor::files;
use crate::sys::io::file::flags;

/// How a file is opened, as [`std::fs::OpenOptions`].
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
    /// Options that allow nothing yet.
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

    /// Whether the file may be read.
    pub fn read(&mut self, read: bool) -> &mut OpenOptions {
        self.read = read;
        self
    }

    /// Whether the file may be written.
    pub fn write(&mut self, write: bool) -> &mut OpenOptions {
        self.write = write;
        self
    }

    /// Whether each write goes to the end of the file, wherever that is by then.
    pub fn append(&mut self, append: bool) -> &mut OpenOptions {
        self.append = append;
        self
    }

    /// Whether what the file holds is dropped.
    pub fn truncate(&mut self, truncate: bool) -> &mut OpenOptions {
        self.truncate = truncate;
        self
    }

    /// Whether a missing file is created.
    pub fn create(&mut self, create: bool) -> &mut OpenOptions {
        self.create = create;
        self
    }

    /// Whether the file must be a new one; `create` and `truncate` say nothing then.
    pub fn create_new(&mut self, create_new: bool) -> &mut OpenOptions {
        self.create_new = create_new;
        self
    }

    /// More flags of `open(2)`. With `O_NONBLOCK`, nothing waits for the other end of a FIFO: calls
    /// say `WouldBlock`, as std's do.
    pub fn custom_flags(&mut self, flags: i32) -> &mut OpenOptions {
        self.custom_flags = flags;
        self
    }

    /// Who may do what with a file that is created, less the mask of the process; 0o666 by default.
    pub fn mode(&mut self, mode: u32) -> &mut OpenOptions {
        self.mode = mode;
        self
    }

    /// Opens `path` so.
    ///
    /// # Errors
    ///
    /// As [`std::fs::OpenOptions::open`]; what interrupts the caller.
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

    /// What std says to options that contradict each other.
    #[cold]
    fn refused(&self) -> io::Error {
        let mut options = std::fs::OpenOptions::new();
        options.read(self.read).write(self.write).append(self.append);
        options.truncate(self.truncate).create(self.create).create_new(self.create_new);
        let refused = options.open("").err();
        refused.unwrap_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl Default for OpenOptions {
    fn default() -> OpenOptions {
        OpenOptions::new()
    }
}
