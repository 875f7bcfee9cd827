//! What the kernel says about a thread or a process of ours.

use std::fs;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Whether a kernel task is on a core, or could be, or waits for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// `R`: on a core or in the kernel's run queue.
    Running,
    /// `S`, `D`, `T`, `t`, `I`: sleeping, stopped or traced.
    Waiting,
    /// `Z`, `X`, or no such task any more.
    Gone,
}

/// The kernel's id of the calling thread.
pub(crate) fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// The time that a thread of this process has spent on a core.
pub(crate) fn thread_cpu_time(id: u32) -> Option<Duration> {
    /// Of one thread, and what it was scheduled for (`CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED`).
    const THREAD: libc::clockid_t = 4 | 2;
    // The number of a thread's clock, as `pthread_getcpuclockid` makes it.
    let clock = (!id.cast_signed() << 3) | THREAD;
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: `time` has room for what the call writes if it succeeds.
    let time = unsafe {
        if libc::clock_gettime(clock, time.as_mut_ptr()) != 0 {
            return None;
        }
        time.assume_init()
    };
    Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?))
}

/// The state of a kernel task, by thread id (of any process) or process id.
pub(crate) fn run_state(id: u32) -> RunState {
    let Ok(stat) = fs::read(format!("/proc/{id}/stat")) else {
        return RunState::Gone;
    };
    // The command's name stands in parentheses and may hold anything, so look after the last one.
    let after_name = stat.iter().rposition(|&b| b == b')').map_or(0, |at| at + 2);
    match stat.get(after_name) {
        Some(b'R') => RunState::Running,
        Some(b'Z' | b'X' | b'x') | None => RunState::Gone,
        Some(_) => RunState::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_s_own_time_on_a_core_goes_by() {
        let begin = thread_cpu_time(thread_id()).unwrap();
        while thread_cpu_time(thread_id()).unwrap() == begin {}
        assert_eq!(thread_cpu_time(u32::MAX >> 4), None);
    }

    #[test]
    fn the_caller_is_running_and_pid_zero_is_gone() {
        assert_eq!(run_state(thread_id()), RunState::Running);
        assert_eq!(run_state(0), RunState::Gone);
    }
}
