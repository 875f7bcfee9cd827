//! The core of each side.

use rustix::thread::{CpuSet, sched_setaffinity};

/// Where the server runs.
pub const SERVER: usize = 0;

/// Where the load runs.
pub const LOAD: usize = 1;

/// Keeps this thread, and what it starts, on one core.
pub fn pin(core: usize) -> rustix::io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)
}
