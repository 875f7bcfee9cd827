//! The core of each side.

use rustix::thread::{CpuSet, sched_setaffinity};

/// The core of the server.
pub const SERVER: usize = 0;

/// The core of the load.
pub const LOAD: usize = 1;

/// Pins this thread, and the threads and processes that it starts, to one core.
pub fn pin(core: usize) -> rustix::io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)
}
