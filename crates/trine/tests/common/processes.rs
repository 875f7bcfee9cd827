//! Killing, observing and counting processes.

use std::fs;

use trine::{Cause, TaskError};

use super::children_of_all_threads;

pub fn kill(pid: u32, signal: i32) {
    // SAFETY: no memory involved.
    assert_eq!(unsafe { libc::kill(pid.cast_signed(), signal) }, 0);
}

/// Kills the calling process.
pub fn die() {
    kill(std::process::id(), libc::SIGKILL);
}

/// Computes for ever, and waits for nothing.
pub fn spin_for_ever() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Parks for ever, and ignores what unparks it.
pub fn stay_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Counts the children of this process.
pub fn children() -> usize {
    children_of_all_threads(std::process::id()).len()
}

/// Counts the open descriptors of this process, with the one that is open for reading the list.
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Counts the mappings of boards and rings, which other processes share. All other mappings are the
/// allocator's and the stacks', which are kept for reuse.
pub fn shared_mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("memfd:")).count()
}

/// Returns the signal that has ended the task's process.
#[track_caller]
pub fn signal_of(error: &TaskError) -> i32 {
    match error.cause() {
        Cause::Signaled { signal, .. } => *signal,
        other => panic!("{other:?}"),
    }
}
