//! The settings of a pool that keeps crash capsules.

use std::path::Path;

use super::PoolBuilder;
use crate::process::capsule::store::Directory;
use crate::process::replay;

impl PoolBuilder {
    /// Leaves one file in `directory` for each task that crashes, panics or exceeds its time in a
    /// worker: a [`Capsule`](crate::process::Capsule), with which `trine replay FILE` runs the
    /// task again.
    ///
    /// The file has the task's argument, function, settings, environment, captured output, cause
    /// and backtrace. Only this user may read it (mode 0600). The directory is made when the first
    /// file is written. A task that runs again ([`retries`](PoolBuilder::retries)) leaves a file
    /// only when it has failed finally. Each argument of a map that fails leaves its own.
    ///
    /// The file is there when the task's error is:
    /// [`TaskError::capsule`](crate::TaskError::capsule) has its path. If it cannot be written, or
    /// more than 16 are written at once, the pool reports that on standard error once.
    /// [`Pool::stop`](crate::process::Pool::stop) does not wait for files.
    ///
    /// ```
    /// use trine::process::{Capsule, Pool};
    ///
    /// # let directory = format!("trine-doc-pool-{}", std::process::id());
    /// # let directory = std::env::temp_dir().join(directory);
    /// let pool = Pool::builder().workers(1).capsules(&directory).build();
    /// let crash = pool.spawn("7".to_owned(), |_| -> u32 { std::process::exit(3) });
    /// let error = crash.join().unwrap_err();
    /// let capsule = Capsule::read(error.capsule().unwrap())?;
    /// assert_eq!(capsule.argument(), Ok(&b"\0\x017"[..]));
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn capsules(mut self, directory: impl AsRef<Path>) -> PoolBuilder {
        replay::link();
        let path = std::path::absolute(&directory).unwrap_or_else(|_| directory.as_ref().into());
        self.capsules = Some(Directory::new(path));
        self
    }

    /// Bounds the [`capsules`](PoolBuilder::capsules): to this number of files in the directory,
    /// and this number of bytes of an argument; 100 and 64 MiB by default. Call it after
    /// `capsules`.
    ///
    /// The oldest files are removed for new ones, whichever program left them there. A longer
    /// argument is left out of its file, which then cannot be replayed.
    ///
    /// ```
    /// # let directory = format!("trine-doc-bound-{}", std::process::id());
    /// # let directory = std::env::temp_dir().join(directory);
    /// let builder = trine::process::Pool::builder().workers(1);
    /// let pool = builder.capsules(&directory).capsule_limits(2, 1 << 20).build();
    /// for n in 0..3 {
    ///     pool.spawn(n, |n: u32| -> () { panic!("no {n}") }).join().unwrap_err();
    /// }
    /// assert_eq!(std::fs::read_dir(&directory)?.count(), 2);
    /// # std::fs::remove_dir_all(directory)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `files` is 0, or no directory was set.
    pub fn capsule_limits(mut self, files: usize, bytes: u64) -> PoolBuilder {
        assert!(files > 0, "a pool without capsules has no directory for them");
        let directory = self.capsules.as_mut().expect("`capsules` sets the directory first");
        (directory.files, directory.bytes) = (files, bytes);
        self
    }
}
