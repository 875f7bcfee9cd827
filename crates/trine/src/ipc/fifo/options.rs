//! Opening or creating a FIFO.

use std::fs::File;
use std::io;
use std::path::Path;

use super::ends::Fifo;
use crate::reactor::files::{blocking, query};
use crate::sys::io::fifo as kernel;
use crate::sys::io::file::{self, flags};
use crate::sys::io::owner::Named;
use crate::task::park;

/// Options for opening a [`Fifo`], and its permissions if it is created.
///
/// ```
/// use trine::ipc::Fifo;
///
/// # let path = std::env::temp_dir().join(format!("trine-doc-fifo-opts-{}", std::process::id()));
/// let fifo = Fifo::options().create(true).mode(0o620).open(&path)?;
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct FifoOptions {
    create: bool,
    create_new: bool,
    mode: u32,
    any_owner: bool,
}

impl FifoOptions {
    fn new() -> FifoOptions {
        FifoOptions { create: false, create_new: false, mode: 0o600, any_owner: false }
    }

    /// Creates the FIFO if nothing is at its path.
    pub fn create(mut self, create: bool) -> FifoOptions {
        self.create = create;
        self
    }

    /// Creates the FIFO, and fails if anything is at its path; overrides `create`.
    pub fn create_new(mut self, create_new: bool) -> FifoOptions {
        self.create_new = create_new;
        self
    }

    /// Sets the permissions of a FIFO that is created, less the process's umask; 0o600 by default,
    /// for its user alone.
    pub fn mode(mut self, mode: u32) -> FifoOptions {
        self.mode = mode;
        self
    }

    /// Accepts an existing FIFO of any user, with any permissions. By default, it must belong to
    /// this process's user or to root.
    ///
    /// Another user can read what is written to its FIFO, and write what is read from it.
    ///
    /// ```
    /// use trine::ipc::Fifo;
    ///
    /// # let path = std::env::temp_dir().join(format!("trine-doc-owner-{}", std::process::id()));
    /// # Fifo::create_new(&path, 0o600)?;
    /// let theirs = Fifo::options().any_owner(true).open(&path)?;
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn any_owner(mut self, any_owner: bool) -> FifoOptions {
        self.any_owner = any_owner;
        self
    }

    /// Opens the FIFO at `path`.
    ///
    /// # Errors
    ///
    /// Fails as [`Fifo::open`], [`Fifo::create`] or [`Fifo::create_new`] does.
    pub fn open(&self, path: impl AsRef<Path>) -> io::Result<Fifo> {
        let path = path.as_ref();
        if self.create_new || self.create {
            match blocking(|| kernel::create(path, self.mode)) {
                Err(error) if !self.create_new && error.kind() == io::ErrorKind::AlreadyExists => {}
                created => created?,
            }
        }
        let place = look_up(path)?;
        if let Some(other) = kernel::other_kind(&place)? {
            let text = format!("{} is {other}, not a FIFO", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        if !self.any_owner {
            Named {
                what: &format!("open the FIFO {}", path.display()),
                removal: &format!("rm {}", path.display()),
                acceptance: "Fifo::options().any_owner(true)",
                mode: (self.create || self.create_new).then_some(self.mode),
            }
            .check(&place)?;
        }
        Ok(Fifo { place, path: path.to_owned() })
    }
}

impl Fifo {
    /// Opens the FIFO at `path`, or creates one with the permissions `mode`, less the process's
    /// umask.
    ///
    /// ```
    /// use trine::ipc::Fifo;
    ///
    /// # let path = std::env::temp_dir().join(format!("trine-doc-create-{}", std::process::id()));
    /// let fifo = Fifo::create(&path, 0o600)?;
    /// let same = Fifo::create(&path, 0o600)?;
    /// # std::fs::remove_file(&path)?;
    /// let _reader = fifo.try_open_reader()?;
    /// same.try_open_writer()?; // finds the reader
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`open`](Self::open) and [`create_new`](Self::create_new) do, but for
    /// `AlreadyExists`. Also fails with `PermissionDenied` if the FIFO exists and lets other users
    /// read or write it whom `mode` would keep out.
    pub fn create(path: impl AsRef<Path>, mode: u32) -> io::Result<Fifo> {
        Fifo::options().create(true).mode(mode).open(path)
    }

    /// Creates a FIFO at `path`, which must not exist, with the permissions `mode`, less the
    /// process's umask.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::ipc::Fifo;
    ///
    /// # let path = std::env::temp_dir().join(format!("trine-doc-new-{}", std::process::id()));
    /// let fifo = Fifo::create_new(&path, 0o600)?;
    /// let error = Fifo::create_new(&path, 0o600).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `AlreadyExists` if anything is at `path`, as `mkfifo(3)` does, and when the
    /// caller is interrupted.
    pub fn create_new(path: impl AsRef<Path>, mode: u32) -> io::Result<Fifo> {
        Fifo::options().create_new(true).mode(mode).open(path)
    }

    /// Looks up the FIFO at `path`. The result stays the same FIFO, even if that is renamed or
    /// removed.
    ///
    /// ```
    /// let error = trine::ipc::Fifo::open("/dev/null").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if something else is at `path`, which is left untouched; with
    /// `PermissionDenied` if the FIFO belongs to a user other than root, and
    /// [`any_owner`](FifoOptions::any_owner) is not set; with `NotFound` and other errors as
    /// `open(2)` does; and when the caller is interrupted.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Fifo> {
        Fifo::options().open(path)
    }

    /// Returns options for opening or creating a FIFO, with their defaults.
    ///
    /// ```
    /// use trine::ipc::Fifo;
    ///
    /// let error = Fifo::options().open("/no/such/fifo").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// ```
    pub fn options() -> FifoOptions {
        FifoOptions::new()
    }
}

fn look_up(path: &Path) -> io::Result<File> {
    let cached = if park::is_plain_thread() { None } else { file::open_cached(path, flags::PATH) };
    match cached {
        Some(opened) => opened,
        None => query(path, |path| file::open(path, flags::PATH, 0)),
    }
}
