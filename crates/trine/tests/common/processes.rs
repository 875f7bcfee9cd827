//! Killing, observing and counting processes.

use std::fs;
use std::time::Duration;

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

/// Computes forever, and waits for nothing.
pub fn spin_for_ever() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// Recurses until the stack overflows.
#[inline(never)]
pub fn overflow_the_stack(depth: u64) -> u64 {
    let here = std::hint::black_box([depth; 16]);
    if depth == u64::MAX { 0 } else { overflow_the_stack(depth + 1) + here[3] }
}

/// Parks forever, and ignores what unparks it.
pub fn stay_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Returns the processor time of all threads of this process.
pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes into `time`, which belongs to the caller.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Counts the children of this process.
pub fn children() -> usize {
    children_of_all_threads(std::process::id()).len()
}

/// Counts the open descriptors of this process, with the one that is open for reading the list.
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Returns the number of sockets that each worker has: its own, and a lifeline where the program
/// could change its user.
pub fn sockets_of_a_worker() -> usize {
    1 + usize::from(!rustix::thread::capabilities(None).unwrap().permitted.is_empty())
}

/// Counts the mappings of memory that other processes share. All other mappings are the
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
