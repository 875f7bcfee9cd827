//! What is different in a worker from the other workers: set before its first task.
//!
//! A [`Setup`] crosses in a `SETUP` frame: for a fresh process with the task that wanted it, for the
//! workers of a pool as their first frame, before they say that they are ready.

use std::env;
use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::sandbox::Sandbox;

/// The body of `SETUP`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) current_dir: Option<OsString>,
    pub(super) sandbox: Option<Sandbox>,
}

impl Setup {
    /// Changes the calling process, a worker that has run no task yet.
    ///
    /// # Errors
    ///
    /// Says what could not be done, and why; the worker is of no use then.
    pub(super) fn apply(self) -> Result<(), String> {
        for (name, value) in &self.environment {
            // SAFETY: the worker has run no task yet, so there is one thread.
            unsafe { env::set_var(name, value) };
        }
        if let Some(directory) = &self.current_dir {
            env::set_current_dir(directory).map_err(|error| {
                format!("cannot work in the directory {}: {error}", directory.display())
            })?;
        }
        // Last: nothing above may be possible after it.
        self.sandbox.map_or(Ok(()), |sandbox| sandbox.enforce())
    }
}
