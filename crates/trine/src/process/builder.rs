//! A fresh process with a name, an environment or a directory of its own.

use std::ffi::OsStr;
use std::panic::Location;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::function::CapturesNothing;
use super::sandbox::Sandbox;
use super::setup::Setup;
use super::wire::{self, FrameKind};
use super::{call, pool};
use crate::task::{Cause, Task};

/// Chooses what is different in the process of one task.
///
/// ```
/// use trine::process::Builder;
///
/// let task = Builder::new()
///     .name("lister")
///     .env("LANG", "C")
///     .current_dir("/")
///     .spawn((), |()| (std::env::var("LANG").unwrap(), std::env::current_dir().unwrap()));
/// assert_eq!(task.name().as_deref(), Some("lister"));
/// assert_eq!(task.join()?, ("C".into(), "/".into()));
/// # Ok::<(), trine::TaskError>(())
/// ```
#[derive(Debug, Default)]
pub struct Builder {
    name: Option<Arc<str>>,
    setup: Setup,
    grace: Option<Duration>,
}

impl Builder {
    /// A process like that of [`spawn`](super::spawn).
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the task: in errors, in the list of tasks, in what a panic prints.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// Sets a variable in the environment of the process.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Builder {
        self.setup.environment.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Has the process start in this directory.
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Builder {
        self.setup.current_dir = Some(directory.as_ref().as_os_str().to_owned());
        self
    }

    /// Has the process give up rights before the task begins.
    ///
    /// ```
    /// use trine::process::{Builder, Sandbox};
    ///
    /// let sandbox = Sandbox::new().no_network().no_files().no_new_processes().no_exec();
    /// let task = Builder::new().sandbox(sandbox).spawn((), |()| {
    ///     std::fs::read("/etc/hostname").map_err(|error| error.kind().to_string())
    /// });
    /// # if trine::process::Sandbox::new().no_files().check().landlock().is_some() {
    /// assert_eq!(task.join()?, Err("permission denied".into()));
    /// # }
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    pub fn sandbox(mut self, sandbox: Sandbox) -> Builder {
        self.setup.sandbox = Some(sandbox);
        self
    }

    /// How long the process may go on after its task was cancelled or its time was up, before it is
    /// killed; 2 seconds if it is not set. See [`process`](super).
    pub fn grace(mut self, grace: Duration) -> Builder {
        self.grace = Some(grace);
        self
    }

    /// Runs `function` on `arg` in a new process.
    ///
    /// As [`process::spawn`](super::spawn); besides, a directory that cannot be entered or a variable that cannot be
    /// set makes the task end with [`Cause::NotSpawned`].
    #[track_caller]
    pub fn spawn<A, R, F>(self, arg: A, function: F) -> Task<R>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let proof = const { CapturesNothing::<F>::check() };
        let Builder { name, setup, grace } = self;
        let (task, job) = call::prepare((name, None), Location::caller(), arg, function, proof);
        let Some(mut job) = job else { return task };
        job.grace = grace;
        match setup.check_environment() {
            Err(reason) => job.fail(Cause::NotSpawned { reason }),
            Ok(()) => {
                if setup != Setup::default() {
                    job.setup = Some(Arc::new(wire::frame(FrameKind::Setup, job.id(), &setup)));
                }
                pool::submit_fresh(job);
            }
        }
        task
    }
}
