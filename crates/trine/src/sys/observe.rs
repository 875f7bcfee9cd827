//! The kernel's view of a thread or process: its state, its time on a core, the number of threads.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// The state of a kernel task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// Running or runnable (`R`).
    Running,
    /// Sleeping (`S`, `D`, `I`).
    Waiting,
    /// Stopped by a signal or a debugger (`T`, `t`).
    Stopped,
    /// Ended (`Z`, `X`), or no such task.
    Gone,
}

/// Returns the kernel's id of the calling thread.
pub(crate) fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// Returns the caller's name in the lists of `/proc`, whose numbers may be those of another
/// namespace.
pub(in crate::sys) fn listed_as() -> OsString {
    let link = fs::read_link("/proc/thread-self").ok();
    let name = link.as_deref().and_then(|link| link.file_name());
    name.map_or_else(|| thread_id().to_string().into(), OsStr::to_owned)
}

/// Returns true if `/proc` shows processes by the numbers of the caller's own namespace.
fn has_own_proc() -> bool {
    let own = std::process::id().to_string();
    fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == &*own)
}

/// Returns true if there is a kernel task with this id, be it a zombie.
fn exists(id: u32) -> bool {
    let id = Pid::from_raw(id.cast_signed());
    id.is_some_and(|id| test_kill_process(id) != Err(Errno::SRCH))
}

/// Returns true if the caller is certainly the only thread of its process. Needs no `/proc`.
fn is_alone() -> bool {
    // Leaves a group of threads that has no other; changes nothing.
    // SAFETY: with this flag the call has no effect on memory or descriptors.
    unsafe { libc::unshare(libc::CLONE_THREAD) == 0 }
}

/// Returns true if the calling process has a thread with this id.
pub(crate) fn has_thread(id: u32) -> bool {
    // SAFETY: signal 0 only asks whether there is such a thread.
    unsafe { libc::syscall(libc::SYS_tgkill, std::process::id(), id, 0) == 0 }
}

/// Returns true if the calling thread is the program's first: its end is the program's.
pub(crate) fn is_main_thread() -> bool {
    thread_id() == std::process::id()
}

/// Returns how many threads this process has, not counting those that are ending: threads past
/// their last instruction, or that reach it within a moment.
///
/// The number is the kernel's own. If there is one thread, it is the caller, and no other thread
/// can start one meanwhile.
///
/// # Errors
///
/// There are several, and `/proc` is not mounted.
pub(crate) fn threads_that_stay() -> io::Result<u32> {
    /// The time between the moment when a thread can be joined and its end.
    const MOMENT: Duration = Duration::from_millis(100);
    let begin = Instant::now();
    loop {
        let count = thread_count()?;
        if count == 1 || (begin.elapsed() > MOMENT && !others_have_ended()) {
            return Ok(count);
        }
        thread::sleep(Duration::from_micros(100));
    }
}

/// Returns how many threads this process has, with those that are ending.
///
/// # Errors
///
/// The same as for [`threads_that_stay`].
pub(crate) fn thread_count() -> io::Result<u32> {
    let status = match fs::read_to_string("/proc/self/status") {
        Err(_) if is_alone() => return Ok(1),
        status => status?,
    };
    let count = status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok());
    count.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Returns true if the kernel is removing every other thread.
fn others_have_ended() -> bool {
    /// `PF_EXITING` of `<linux/sched.h>`.
    const EXITING: u32 = 4;
    let own = listed_as();
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return false };
    threads.flatten().filter(|thread| thread.file_name() != own).all(|thread| {
        // A thread without a file has ended.
        let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else { return true };
        // The flags are the seventh field after the command's name, which may contain any bytes.
        let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(6));
        flags.and_then(|flags| flags.parse::<u32>().ok()).is_some_and(|it| it & EXITING != 0)
    })
}

/// Returns the time that a thread of this process has spent on a core.
pub(crate) fn thread_cpu_time(id: u32) -> Option<Duration> {
    /// The clock of one thread's scheduled time (`CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED`).
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

/// Returns the state of a kernel task, by thread id (of any process) or process id. A task that
/// `/proc` does not show (it is missing, another namespace's, or hides processes) is running.
pub(crate) fn run_state(id: u32) -> RunState {
    let stat = if has_own_proc() { fs::read(format!("/proc/{id}/stat")).ok() } else { None };
    let Some(stat) = stat else {
        return if exists(id) { RunState::Running } else { RunState::Gone };
    };
    // The command's name is in parentheses and may contain any bytes, so this searches for the last
    // parenthesis.
    let after_name = stat.iter().rposition(|&b| b == b')').map_or(0, |at| at + 2);
    match stat.get(after_name) {
        Some(b'R') => RunState::Running,
        Some(b'Z' | b'X' | b'x') | None => RunState::Gone,
        Some(b'T' | b't') => RunState::Stopped,
        Some(_) => RunState::Waiting,
    }
}

/// Describes the system call in which a thread of this process waits, if `/proc` shows it.
pub(crate) fn waits_in(id: u32) -> Option<String> {
    let call = fs::read_to_string(format!("/proc/self/task/{id}/syscall")).ok()?;
    // `running`, or `-1` outside of a call.
    let number = call.split(' ').next()?.parse().ok().filter(|&number| number >= 0)?;
    let known = CALLS.iter().find(|(call, _)| *call == number);
    Some(known.map_or_else(|| format!("the system call {number}"), |(_, name)| (*name).to_owned()))
}

/// The system calls in which threads usually wait.
const CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_futex, "futex (a lock, or another thread)"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep (a sleep of the thread)"),
    (libc::SYS_nanosleep, "nanosleep (a sleep of the thread)"),
    (libc::SYS_read, "read"),
    (libc::SYS_write, "write"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_wait4, "wait4 (a child process)"),
    (libc::SYS_waitid, "waitid (a child process)"),
    (libc::SYS_flock, "flock (a lock of a file)"),
    (libc::SYS_fsync, "fsync"),
];

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
