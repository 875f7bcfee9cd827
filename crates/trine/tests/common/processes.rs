//! What tests do to processes, have tasks do in theirs, and see of them.

use std::fs;

use trine::{Cause, TaskError};

use super::children_of_all_threads;

pub fn kill(pid: u32, signal: i32) {
    // SAFETY: no memory involved.
    assert_eq!(unsafe { libc::kill(pid.cast_signed(), signal) }, 0);
}

/// Has this process killed.
pub fn die() {
    kill(std::process::id(), libc::SIGKILL);
}

/// Computes, and hears and waits for nothing.
pub fn spin_for_ever() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Hears what wakes the thread, and stays.
pub fn stay_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// How many children this process has.
pub fn children() -> usize {
    children_of_all_threads(std::process::id()).len()
}

/// How many descriptors this process has open, among them the one that is open for looking.
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Mappings that are shared with other processes: of boards and rings. The others are the allocator's and the stacks', which
/// it keeps for the next time.
pub fn shared_mappings() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("memfd:")).count()
}

/// The signal that has ended the task's process.
#[track_caller]
pub fn signal_of(error: &TaskError) -> i32 {
    match error.cause() {
        Cause::Signaled { signal, .. } => *signal,
        other => panic!("{other:?}"),
    }
}
