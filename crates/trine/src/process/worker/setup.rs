//! What is different in a worker from the other workers: set before its first task.
//!
//! A [`Setup`] crosses in a `SETUP` frame: for a fresh process with the task that wanted it, for the
//! workers of a pool as their first frame, before they say that they are ready. The part of it that
//! a preload sees goes to its template with the handshake.

use std::env;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use crate::process::sandbox::Sandbox;
use crate::process::task::hook::Hook;
use crate::sys::process::child;

/// The body of `SETUP`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Setup {
    pub(in crate::process) environment: Vec<(OsString, OsString)>,
    pub(in crate::process) current_dir: Option<OsString>,
    /// What `ps` shows.
    pub(in crate::process) name: Option<String>,
    /// What the user runs in it before its first task.
    pub(in crate::process) initializer: Option<Hook>,
    pub(in crate::process) sandbox: Option<Sandbox>,
    pub(in crate::process) limits: Limits,
    /// Whether what its tasks print is kept for their errors; the worker has nothing to do for it.
    #[serde(skip)]
    pub(in crate::process) captures: bool,
}

/// Behind the handshake, in the same packet, if there is one: what the template runs before it is ready.
/// The handshake itself stays as it is, so that a template of another build knows it for one.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct Preload {
    pub(in crate::process) function: Hook,
    /// The length of the packet with the [`Setup`] that follows.
    pub(in crate::process) setup: usize,
}

impl Setup {
    /// What is done in the template, too, before its preload.
    pub(in crate::process) fn for_template(&self) -> Setup {
        Setup {
            environment: self.environment.clone(),
            current_dir: self.current_dir.clone(),
            ..Setup::default()
        }
    }

    /// Completes what the worker has to know; in the master, before it crosses.
    ///
    /// # Errors
    ///
    /// Says what makes no sense on any machine.
    pub(in crate::process) fn prepare(&mut self) -> Result<(), String> {
        self.check_environment()?;
        self.limits.prepare()
    }

    /// Changes the calling process: a worker that has run no task yet, or a template.
    ///
    /// # Errors
    ///
    /// Says what could not be done, and why; the process is of no use then.
    pub(in crate::process) fn apply(self) -> Result<(), String> {
        self.check_environment()?;
        for (name, value) in &self.environment {
            // SAFETY: the worker has run no task yet, so there is one thread.
            unsafe { env::set_var(name, value) };
        }
        if let Some(directory) = &self.current_dir {
            env::set_current_dir(directory).map_err(|error| {
                format!("cannot work in the directory {}: {error}", directory.display())
            })?;
        }
        if let Some(name) = self.name {
            let text: Vec<u8> = name.into_bytes().into_iter().filter(|byte| *byte != 0).collect();
            child::set_short_name(&CString::new(text).expect("no byte is 0"));
        }
        self.limits.apply()?;
        // What follows finds the process as its tasks will.
        if let Some(initializer) = self.initializer {
            // SAFETY: the offset comes from the master, which runs the same build (the template has
            // checked the fingerprint).
            unsafe { initializer.run("initializer") }?;
        }
        // Last: nothing above may be possible after it.
        self.sandbox.map_or(Ok(()), |sandbox| sandbox.enforce())
    }

    /// # Errors
    ///
    /// Names a variable that `setenv` does not accept.
    fn check_environment(&self) -> Result<(), String> {
        match self.environment.iter().find(|(name, value)| !is_variable(name, value)) {
            Some((name, value)) => Err(format!("the environment cannot hold {name:?} = {value:?}")),
            None => Ok(()),
        }
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
