//! Opening a named semaphore.

use std::io;

use super::handle::{Semaphore, check, checked};
use crate::sys::io::owner::Named;
use crate::sys::semaphore::{self as kernel, Memory};

/// Options for opening a named [`Semaphore`], and its permits and permissions if it is created.
///
/// ```
/// use trine::ipc::Semaphore;
///
/// # let name = format!("trine-doc-sem-options-{}", std::process::id());
/// let jobs = Semaphore::options().create(true).mode(0o660).permits(4).open(&name)?;
/// # Semaphore::unlink(&name)?;
/// assert_eq!(jobs.available(), 4);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is opened before `open`"]
pub struct SemaphoreOptions {
    create: bool,
    create_new: bool,
    mode: u32,
    permits: u32,
    any_owner: bool,
}

impl SemaphoreOptions {
    fn new() -> SemaphoreOptions {
        SemaphoreOptions {
            create: false,
            create_new: false,
            mode: 0o600,
            permits: 0,
            any_owner: false,
        }
    }

    /// Creates the semaphore if there is none.
    pub fn create(mut self, create: bool) -> SemaphoreOptions {
        self.create = create;
        self
    }

    /// Creates the semaphore, and fails if there is one; overrides `create`.
    pub fn create_new(mut self, create_new: bool) -> SemaphoreOptions {
        self.create_new = create_new;
        self
    }

    /// Sets the permissions of a semaphore that is created, less the process's umask; 0o600 by
    /// default, for its user alone.
    pub fn mode(mut self, mode: u32) -> SemaphoreOptions {
        self.mode = mode;
        self
    }

    /// Sets the number of free permits of a semaphore that is created; 0 by default.
    pub fn permits(mut self, permits: u32) -> SemaphoreOptions {
        self.permits = permits;
        self
    }

    /// Accepts an existing semaphore of any user, with any permissions. By default, it must belong
    /// to this process's user or to root.
    ///
    /// A user that may write the file can end every process that uses the semaphore.
    ///
    /// ```
    /// use trine::ipc::Semaphore;
    ///
    /// # let name = format!("trine-doc-sem-owner-{}", std::process::id());
    /// # let _theirs = Semaphore::create_new(&name, 0o600, 1)?;
    /// let turns = Semaphore::options().any_owner(true).open(&name)?;
    /// # Semaphore::unlink(&name)?;
    /// assert!(turns.try_acquire());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn any_owner(mut self, any_owner: bool) -> SemaphoreOptions {
        self.any_owner = any_owner;
        self
    }

    /// Opens the semaphore `name`, with or without a leading slash.
    ///
    /// # Errors
    ///
    /// Fails as [`Semaphore::open`], [`Semaphore::create`] or [`Semaphore::create_new`] does.
    pub fn open(&self, name: impl AsRef<str>) -> io::Result<Semaphore> {
        let name = name.as_ref();
        check(self.permits)?;
        if self.create_new {
            return self.make(name);
        }
        // Repeats only if another process has unlinked or created it in between.
        loop {
            match self.find(name) {
                Err(error) if self.create && error.kind() == io::ErrorKind::NotFound => {}
                found => return found,
            }
            match self.make(name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made,
            }
        }
    }

    fn find(&self, name: &str) -> io::Result<Semaphore> {
        let (name, shown) = checked(name)?;
        let what = format!("open the semaphore {shown}");
        let removal = format!("rm {}", kernel::shown_path(&name));
        let named = Named {
            what: &what,
            removal: &removal,
            acceptance: "Semaphore::options().any_owner(true)",
            mode: self.create.then_some(self.mode),
        };
        match Memory::open(&name, (!self.any_owner).then_some(&named)) {
            Ok(memory) => Ok(Semaphore::named(memory, shown)),
            Err(kernel::OpenError::Owner(error)) => Err(error),
            Err(kernel::OpenError::System(error)) => Err(kernel::explain(&what, error)),
        }
    }

    fn make(&self, name: &str) -> io::Result<Semaphore> {
        let (name, shown) = checked(name)?;
        match Memory::create_named(&name, self.mode, self.permits) {
            Ok(memory) => Ok(Semaphore::named(memory, shown)),
            Err(error) => Err(kernel::explain(&format!("create the semaphore {shown}"), error)),
        }
    }
}

impl Semaphore {
    /// Opens the existing semaphore `name`. The leading slash that C requires is optional.
    ///
    /// ```
    /// use trine::ipc::Semaphore;
    ///
    /// let error = Semaphore::open("no-such-semaphore").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// ```
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: the name is empty, `.` or `..`, longer than 251 bytes, or contains a NUL
    ///   or a slash that does not lead it.
    /// - `NotFound`.
    /// - `PermissionDenied`: its mode does not let this user read and write it; or it belongs to
    ///   a user other than root, and [`any_owner`](SemaphoreOptions::any_owner) is not set.
    /// - `InvalidData`: the name is not that of a semaphore of a 64-bit program.
    /// - `StorageFull`: `/dev/shm` is full, and the file was made without its memory.
    /// - No descriptor or memory is left.
    pub fn open(name: impl AsRef<str>) -> io::Result<Semaphore> {
        Semaphore::options().open(name)
    }

    /// Opens the semaphore `name`, or creates it: with `permits` free permits, and with the file
    /// permissions `mode`, less the process's umask.
    ///
    /// ```
    /// use trine::ipc::Semaphore;
    ///
    /// # let name = format!("trine-doc-create-{}", std::process::id());
    /// let one = Semaphore::create(&name, 0o600, 3)?;
    /// let other = Semaphore::create(&name, 0o600, 9)?; // opens the first one
    /// Semaphore::unlink(&name)?;
    /// assert_eq!(other.available(), 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`open`](Self::open) and [`create_new`](Self::create_new) do, but for `NotFound`
    /// and `AlreadyExists`. Also fails with `PermissionDenied` if the semaphore exists and lets
    /// other users read or write it whom `mode` would keep out.
    pub fn create(name: impl AsRef<str>, mode: u32, permits: u32) -> io::Result<Semaphore> {
        Semaphore::options().create(true).mode(mode).permits(permits).open(name)
    }

    /// Creates the semaphore `name`, which must not exist, as [`create`](Self::create) does.
    ///
    /// ```
    /// use trine::ipc::Semaphore;
    ///
    /// # let name = format!("trine-doc-create-new-{}", std::process::id());
    /// let semaphore = Semaphore::create_new(&name, 0o600, 1)?;
    /// let error = Semaphore::create_new(&name, 0o600, 1).unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    /// # Semaphore::unlink(&name)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - `AlreadyExists`.
    /// - `InvalidInput`: the name is invalid, as for [`open`](Self::open), or there are too many
    ///   permits.
    /// - `StorageFull`: `/dev/shm` is full.
    /// - `PermissionDenied`: `/dev/shm` is not writable.
    /// - No descriptor or memory is left.
    pub fn create_new(name: impl AsRef<str>, mode: u32, permits: u32) -> io::Result<Semaphore> {
        Semaphore::options().create_new(true).mode(mode).permits(permits).open(name)
    }

    /// Returns options for opening a named semaphore, with their defaults.
    ///
    /// ```
    /// use trine::ipc::Semaphore;
    ///
    /// let error = Semaphore::options().open("no-such-semaphore").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    /// ```
    pub fn options() -> SemaphoreOptions {
        SemaphoreOptions::new()
    }
}
