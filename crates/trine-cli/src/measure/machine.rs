//! The machine.

use std::fs;
use std::thread::available_parallelism;

use serde::Serialize;

/// The machine, as far as the figures depend on it.
#[derive(Serialize)]
pub(crate) struct Machine {
    /// The processor's name; empty if `/proc/cpuinfo` has none.
    pub(crate) cpu: String,
    /// Cores that this program may use.
    pub(crate) cores: usize,
    pub(crate) architecture: &'static str,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Threads that run coroutines, at most.
    pub(crate) carriers: usize,
    /// Workers of a pool of processes, unless the program says otherwise.
    pub(crate) workers: usize,
    /// The back end by which coroutines wait for sockets, and why it is not `io_uring`.
    pub(crate) reactor: String,
    /// True if this program was built with optimisation.
    pub(crate) optimised: bool,
}

/// Returns the description of this machine.
pub(crate) fn describe() -> Machine {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or_else(String::new, |(_, name)| name.trim().to_owned());
    Machine {
        cpu,
        cores: available_parallelism().map_or(1, usize::from),
        architecture: std::env::consts::ARCH,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        carriers: trine::coroutine::carriers(),
        // A pool starts its workers with its first task.
        workers: trine::process::Pool::builder().build().workers(),
        reactor: trine::reactor().to_string(),
        optimised: !cfg!(debug_assertions),
    }
}
