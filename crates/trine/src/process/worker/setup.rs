//! Settings of a worker, applied before its first task.
//!
//! A [`Setup`] travels in a `SETUP` frame: for a fresh process before its task, for the workers of
//! a pool as their first frame, before they are ready. The part of it that a preload sees goes to
//! its template with the handshake.

use std::env;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use super::limits::Limits;
use crate::process::sandbox::Sandbox;
use crate::process::task::hook::Hook;
use crate::sys::process::current;
use crate::sys::signal::terminal;

/// The body of `SETUP`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::process) struct Setup {
    pub(in crate::process) environment: Vec<(OsString, OsString)>,
    pub(in crate::process) current_dir: Option<OsString>,
    /// The worker's name in `ps`.
    pub(in crate::process) name: Option<String>,
    /// The user's function that runs before the first task.
    pub(in crate::process) initializer: Option<Hook>,
    pub(in crate::process) sandbox: Option<Sandbox>,
    pub(in crate::process) limits: Limits,
    /// True if SIGINT and SIGQUIT end the worker.
    pub(in crate::process) interruptible: bool,
    /// True if the output of tasks is captured for their errors; the worker itself needs no
    /// setting.
    #[serde(skip)]
    pub(in crate::process) captures: bool,
}

/// The function that a template runs before it is ready. It follows the handshake in the same
/// packet.
///
/// It is no field of the handshake, whose encoding never changes: a template of another build can
/// still recognise a handshake.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::process) struct Preload {
    pub(in crate::process) function: Hook,
    /// The length of the packet with the [`Setup`] that follows.
    pub(in crate::process) setup: usize,
}

impl Setup {
    /// Returns the part that also applies to a template, before its preload.
    pub(in crate::process) fn for_template(&self) -> Setup {
        Setup {
            environment: self.environment.clone(),
            current_dir: self.current_dir.clone(),
            ..Setup::default()
        }
    }

    /// Completes the settings in the master, before they are sent.
    ///
    /// # Errors
    ///
    /// A setting is invalid on any machine; the text names it.
    pub(in crate::process) fn prepare(&mut self) -> Result<(), String> {
        self.check_environment()?;
        self.limits.prepare()
    }

    /// Applies the settings to the calling process: a worker that has run no task yet, or a
    /// template. Calls `bind` after the initializer, which may have changed the user.
    ///
    /// # Errors
    ///
    /// A setting cannot be applied; the text says why. Such a process must not run tasks.
    pub(in crate::process) fn apply(
        self,
        bind: &dyn Fn() -> Result<(), String>,
    ) -> Result<(), String> {
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
            current::set_short_name(&CString::new(text).expect("no byte is 0"));
        }
        self.limits.apply()?;
        if self.interruptible {
            terminal::obey();
        }
        // The initializer sees the process as the tasks will.
        if let Some(initializer) = self.initializer {
            // SAFETY: the offset comes from the master, which runs the same build (the template has
            // checked the fingerprint).
            unsafe { initializer.run("initializer") }?;
            bind()?;
        }
        // Last, because the sandbox may deny the steps above.
        self.sandbox.map_or(Ok(()), |sandbox| sandbox.enforce())
    }

    /// Checks the variables.
    ///
    /// # Errors
    ///
    /// `setenv` does not accept a variable; the text names it.
    fn check_environment(&self) -> Result<(), String> {
        match self.environment.iter().find(|(name, value)| !is_variable(name, value)) {
            Some((name, value)) => Err(format!("the environment cannot hold {name:?} = {value:?}")),
            None => Ok(()),
        }
    }
}

/// Returns true if `setenv` accepts the variable.
pub(in crate::process) fn is_variable(name: &OsString, value: &OsString) -> bool {
    let name = name.as_bytes();
    !name.is_empty()
        && !name.contains(&b'=')
        && !name.contains(&0)
        && !value.as_bytes().contains(&0)
}
