//! What tests do to processes, have tasks do in theirs, and see of them.

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

/// The signal that has ended the task's process.
#[track_caller]
pub fn signal_of(error: &TaskError) -> i32 {
    match error.cause() {
        Cause::Signaled { signal, .. } => *signal,
        other => panic!("{other:?}"),
    }
}
