//! What is different in a worker from the other workers: set before its first task.
//!
//! A [`Setup`] crosses in a `SETUP` frame: for a fresh process with the task that wanted it, for the
//! workers of a pool as their first frame, before they say that they are ready.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use super::limits::Limits;

/// The body of `SETUP`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) current_dir: Option<OsString>,
    pub(super) limits: Limits,
}

impl Setup {
    /// Completes what the worker has to know; in the master, before it crosses.
    ///
    /// # Errors
    ///
    /// Says what makes no sense on any machine.
    pub(super) fn prepare(&mut self) -> Result<(), String> {
        if let Some((name, value)) =
            self.environment.iter().find(|(name, value)| !is_variable(name, value))
        {
            return Err(format!("the environment cannot hold {name:?} = {value:?}"));
        }
        self.limits.prepare()
    }

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
        self.limits.apply()
    }
}

/// What `setenv` accepts.
fn is_variable(name: &OsString, value: &OsString) -> bool {
    let name = name.as_bytes();
    !name.is_empty()
        && !name.contains(&b'=')
        && !name.contains(&0)
        && !value.as_bytes().contains(&0)
}
