//! The processors that a process runs on, and its niceness.

use std::io;

use rustix::thread::CpuSet;

/// The number of processors that an affinity can name; processor numbers are below it.
const PROCESSORS: usize = CpuSet::MAX_CPU;

/// Restricts the calling thread, and threads and processes that it starts, to these processors.
/// Returns those of them that it may not run on.
///
/// # Errors
///
/// It may run on none of them.
pub(crate) fn set(processors: &[usize]) -> io::Result<Vec<usize>> {
    let mut set = CpuSet::new();
    for processor in processors.iter().filter(|processor| **processor < PROCESSORS) {
        set.set(*processor);
    }
    rustix::thread::sched_setaffinity(None, &set)?;
    // The kernel skips processors that it does not have.
    let got = rustix::thread::sched_getaffinity(None)?;
    let missing = |processor: &usize| *processor >= PROCESSORS || !got.is_set(*processor);
    Ok(processors.iter().copied().filter(missing).collect())
}

/// Returns the processors that the calling thread may run on now.
pub(crate) fn get() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None);
    set.map(|set| (0..PROCESSORS).filter(|processor| set.is_set(*processor)).collect())
        .unwrap_or_default()
}

/// Sets the niceness of the calling process, from -20 (highest priority) to 19 (lowest).
pub(crate) fn set_nice(nice: i32) -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, nice)?)
}
