//! Enforces a sandbox in the worker.
//!
//! ```text
//!   one thread?  ─► no new rights ─► Landlock (opens paths) ─► no capabilities ─► seccomp
//! ```
//!
//! Each step holds for the calling thread and the threads that it starts. A thread that an
//! initialiser has left running would stay outside, with access to all of the memory; hence the
//! check for one.

use std::fmt::Display;
use std::path::Path;

use super::settings::{Files, Sandbox};
use crate::sys::observe;
use crate::sys::sandbox::landlock::{Allowed, Rules};
use crate::sys::sandbox::no_new_privs;
use crate::sys::sandbox::seccomp::{self, Policy};

/// Paths that are accessible in every sandbox that lists files, if they exist.
const ALWAYS_ALLOWED: [(&str, Allowed); 6] = [
    ("/proc/self", Allowed::Read),
    ("/proc/self/exe", Allowed::Read),
    ("/dev/zero", Allowed::Read),
    ("/dev/random", Allowed::Read),
    ("/dev/urandom", Allowed::Read),
    ("/dev/null", Allowed::ReadAndWrite),
];

impl Sandbox {
    /// Gives up the rights of the calling process, which has one thread.
    ///
    /// # Errors
    ///
    /// A step has failed; the text says which, and what to do. Earlier steps stay in effect.
    pub(in crate::process) fn enforce(&self) -> Result<(), String> {
        let enforcement = self.check();
        if self.require_all && !enforcement.is_complete() {
            return Err(format!("the whole sandbox is required (`require_all`); {enforcement}"));
        }
        check_single_threaded()?;
        no_new_privs::set_no_new_privileges().map_err(not_set_up("no_new_privs"))?;
        if enforcement.landlock().is_some() {
            self.rules()?.enforce().map_err(not_set_up("Landlock"))?;
        }
        no_new_privs::drop_capabilities().map_err(not_set_up("giving up capabilities"))?;
        if enforcement.seccomp() {
            let policy = self.policy(enforcement.landlock().unwrap_or(0));
            seccomp::enforce(&policy).map_err(not_set_up("seccomp"))?;
        }
        Ok(())
    }

    fn rules(&self) -> Result<Rules, String> {
        let files = self.files.as_ref();
        let mut rules =
            Rules::new(files.is_some(), !self.no_network).map_err(not_set_up("Landlock"))?;
        let Some(Files { read_only, read_write }) = files else {
            return rules.allow_renaming().map_err(not_set_up("Landlock"));
        };
        for (path, allowed) in ALWAYS_ALLOWED {
            if Path::new(path).exists() {
                rules = allow(rules, Path::new(path), allowed)?;
            }
        }
        for path in read_only {
            rules = allow(rules, Path::new(path), Allowed::ReadAndRun)?;
        }
        for path in read_write {
            rules = allow(rules, Path::new(path), Allowed::ReadAndWrite)?;
        }
        Ok(rules)
    }

    /// Returns the part that the filters have to enforce beside a Landlock of this version; 0 for
    /// none.
    fn policy(&self, landlock: u32) -> Policy {
        let files = self.files.as_ref();
        Policy {
            network: self.no_network,
            programs: self.no_exec,
            processes: self.no_new_processes,
            signals: landlock < 6,
            attributes_by_name: files.is_some(),
            attributes_by_descriptor: files.is_some_and(|files| files.read_write.is_empty()),
            truncate: files.is_some() && landlock < 3,
            kills: self.kill_on_violation,
        }
    }
}

fn allow(rules: Rules, path: &Path, allowed: Allowed) -> Result<Rules, String> {
    rules.allow(path, allowed).map_err(not_set_up(&format!("allowing {}", path.display())))
}

fn not_set_up<E: Display>(what: &str) -> impl Fn(E) -> String {
    move |error| format!("the sandbox was not set up: {what}: {error}")
}

fn check_single_threaded() -> Result<(), String> {
    match observe::threads_that_stay().map_err(not_set_up("counting threads in /proc/self"))? {
        1 => Ok(()),
        threads => Err(format!(
            "the sandbox was not set up: the process has {threads} threads already, which would \
             stay outside; let the initialiser start no thread and no coroutine"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_refused() {
        let (go, stay) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || stay.recv());
        let refusal = Sandbox::new().enforce().unwrap_err();
        assert!(refusal.contains("threads already"), "{refusal}");
        drop(go);
        other.join().unwrap().unwrap_err();
    }
}
