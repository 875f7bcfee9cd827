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
use crate::sys::process::child;

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
    /// True if the output of tasks is captured for their errors; the worker itself needs no
    /// setting.
    #[serde(skip)]
    pub(in crate::process) captures: bool,
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
    /// template.
    ///
    /// # Errors
    ///
    /// A setting cannot be applied; the text says why. Such a process must not run tasks.
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
        // The initializer sees the process as the tasks will.
        if let Some(initializer) = self.initializer {
            // SAFETY: the offset comes from the master, which runs the same build (the template has
            // checked the fingerprint).
            unsafe { initializer.run("initializer") }?;
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
fn is_variable(name: &OsString, value: &OsString) -> bool {
    let name = name.as_bytes();
    !name.is_empty()
        && !name.contains(&b'=')
        && !name.contains(&0)
        && !value.as_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    use std::panic::Location;
    use std::sync::Arc;
    use std::time::Duration;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::process::pool::dispatcher::Dispatcher;
    use crate::process::pool::policy::{Plan, Policy};
    use crate::process::task::encode;
    use crate::process::task::function::CapturesNothing;
    use crate::sys::limits::cpu_clock;
    use crate::task::{Cause, Limit, TaskError};

    /// Starts a dispatcher with one worker, which is never retired.
    fn kept(mut setup: Setup) -> Arc<Dispatcher> {
        setup.prepare().unwrap();
        let dispatcher = Dispatcher::new(Policy::new(Plan::Kept(1)), &setup);
        dispatcher.start();
        dispatcher
    }

    fn run<A, R, F>(dispatcher: &Arc<Dispatcher>, arg: A, function: F) -> Result<R, TaskError>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + DeserializeOwned + Send + 'static,
        F: Fn(A) -> R + Copy + Send + 'static,
    {
        let proof = const { CapturesNothing::<F>::check() };
        let (task, job) = encode::prepare((None, None), Location::caller(), arg, function, proof);
        dispatcher.submit(job.unwrap());
        task.join()
    }

    #[test]
    fn processor_time_counts_for_each_task_of_a_worker_anew() {
        let most = Duration::from_millis(100);
        let limits = Limits { cpu_time: Some(most), ..Limits::default() };
        let dispatcher = kept(Setup { limits, ..Setup::default() });
        let work = |time: Duration| {
            let begin = cpu_clock::own();
            while cpu_clock::own() - begin < time {}
            std::process::id()
        };
        let pid = run(&dispatcher, most / 2, work).unwrap();
        for _ in 0..5 {
            assert_eq!(run(&dispatcher, most / 2, work).unwrap(), pid);
        }
        let error = run(&dispatcher, most * 1000, work).unwrap_err();
        let Cause::Signaled { limit: Some(Limit::CpuTime(limit)), .. } = error.cause() else {
            panic!("{error}")
        };
        assert_eq!(*limit, most);
        // The next worker has the same limit, and an end by another signal is not taken for the
        // limit.
        assert_ne!(run(&dispatcher, most / 2, work).unwrap(), pid);
        let error = run(&dispatcher, (), |()| -> () { std::process::abort() }).unwrap_err();
        assert!(matches!(error.cause(), Cause::Signaled { limit: None, .. }), "{error}");
        dispatcher.close();
    }

    #[test]
    fn the_output_of_each_task_of_a_worker_is_kept_apart() {
        let dispatcher = kept(Setup { captures: true, ..Setup::default() });
        let mut pids = Vec::new();
        for n in 0..200_u32 {
            // Every other task returns a value.
            let result = run(&dispatcher, n, |n| {
                println!("task {n}");
                eprintln!("error {n}");
                assert!(n.is_multiple_of(2), "an odd one");
                std::process::id()
            });
            match result {
                Ok(pid) => pids.push(pid),
                Err(error) => {
                    assert_eq!(error.stdout(), format!("task {n}\n").as_bytes());
                    assert!(error.stderr().starts_with(format!("error {n}\n").as_bytes()));
                }
            }
        }
        pids.dedup();
        assert_eq!(pids.len(), 1);
        // The output of a dead worker does not appear in that of the next.
        for n in 0..10 {
            let error = run(&dispatcher, n, |n: u32| -> () {
                println!("task {n}");
                std::process::abort()
            });
            assert_eq!(error.unwrap_err().stdout(), format!("task {n}\n").as_bytes());
        }
        dispatcher.close();
    }

    #[test]
    fn a_set_up_that_a_worker_refuses_is_an_error_of_its_pools_tasks() {
        let limits = Limits { memory: Some(4096), ..Limits::default() };
        let dispatcher = kept(Setup { limits, ..Setup::default() });
        let error = run(&dispatcher, (), |()| ()).unwrap_err();
        let Cause::NotSpawned { reason } = error.cause() else { panic!("{error}") };
        assert!(reason.contains("a memory limit of 4 KiB is too low"), "{reason}");
        dispatcher.close();
        // Tasks without these settings are not affected.
        assert_eq!(crate::process::spawn(3, |n: u8| n).join().unwrap(), 3);
    }
}
