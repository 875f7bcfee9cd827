//! On which processors a process runs, and how nice it is to others.

use std::io;

use rustix::thread::CpuSet;

/// Processors have numbers below this.
pub(crate) const PROCESSORS: usize = CpuSet::MAX_CPU;

/// Has the calling thread, and those that it starts, run on these processors only; those of them
/// that it may not run on are the answer.
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
    // The kernel passes over those that it does not have.
    let got = rustix::thread::sched_getaffinity(None)?;
    let missing = |processor: &usize| *processor >= PROCESSORS || !got.is_set(*processor);
    Ok(processors.iter().copied().filter(missing).collect())
}

/// The processors that the calling thread may run on now.
pub(crate) fn get() -> Vec<usize> {
    let set = rustix::thread::sched_getaffinity(None);
    set.map(|set| (0..PROCESSORS).filter(|processor| set.is_set(*processor)).collect())
        .unwrap_or_default()
}

/// Sets how nice the calling process is to others: from -20, not at all, to 19.
pub(crate) fn set_nice(nice: i32) -> io::Result<()> {
    Ok(rustix::process::setpriority_process(None, nice)?)
}
