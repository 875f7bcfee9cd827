//! Children: watching, killing and reaping them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::ptr;
use std::time::Duration;

use rustix::process::{self, Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::sys::lift::lift;

/// The way a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It called `exit`.
    Exited(i32),
    /// A signal ended it.
    Signaled {
        /// The signal's number.
        signal: i32,
        /// True if a core file was written.
        core_dumped: bool,
    },
    /// It has ended, and other code of this program has reaped it: that code waits for any child,
    /// or ignores SIGCHLD.
    Unknown,
}

/// The error for a process that has exited and was reaped.
pub(crate) const NO_SUCH_PROCESS: i32 = libc::ESRCH;

/// Returns a handle of the child `pid`, which was not reaped yet.
pub(crate) fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(lift(process::pidfd_open(pid, PidfdFlags::empty())?)?)
}

/// Returns true if the handle is of a child that was not reaped yet.
pub(crate) fn is_own(pidfd: impl AsFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    process::waitid(WaitId::PidFd(pidfd.as_fd()), options).is_ok()
}

/// The resources that a child and the children that it had reaped have used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResourceUsage {
    pub(crate) user_time: Duration,
    pub(crate) system_time: Duration,
    /// Peak memory, in bytes.
    pub(crate) max_resident: u64,
}

/// Like [`reap`], with the resources that the child has used.
pub(crate) fn reap_with_usage(pidfd: impl AsFd) -> Option<(Ended, Option<ResourceUsage>)> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let (descriptor, options) = (pidfd.as_fd().as_raw_fd(), libc::WEXITED | libc::WNOHANG);
    let result = loop {
        // SAFETY: the kernel fills both, or leaves them as they are. The C library's call makes
        // this call without its fifth argument.
        let result = unsafe {
            let info = info.as_mut_ptr();
            let usage = usage.as_mut_ptr();
            libc::syscall(libc::SYS_waitid, libc::P_PIDFD, descriptor, info, options, usage)
        };
        if result == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            break result;
        }
    };
    if result != 0 {
        return Some((kept_answer(pidfd), None));
    }
    // SAFETY: all-zero is valid for both, and so is the kernel's answer.
    let (info, usage) = unsafe { (info.assume_init(), usage.assume_init()) };
    // SAFETY: from `waitid`, or all zero if the child runs.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return None;
    }
    let ended = match info.si_code {
        libc::CLD_EXITED => Ended::Exited(status),
        code => Ended::Signaled { signal: status, core_dumped: code == libc::CLD_DUMPED },
    };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.cast_unsigned())
            + Duration::from_micros(time.tv_usec.cast_unsigned())
    };
    let max_resident = usage.ru_maxrss.cast_unsigned() * 1024;
    let (user_time, system_time) = (time(usage.ru_utime), time(usage.ru_stime));
    Some((ended, Some(ResourceUsage { user_time, system_time, max_resident })))
}

/// Reaps a child and returns how it ended; `None` while it runs.
pub(crate) fn reap(pidfd: impl AsFd) -> Option<Ended> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = loop {
        match process::waitid(WaitId::PidFd(pidfd.as_fd()), options) {
            Ok(None) => return None,
            Ok(Some(status)) => break status,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Some(kept_answer(pidfd)),
        }
    };
    Some(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ended::Exited(code),
        (None, Some(signal)) => Ended::Signaled { signal, core_dumped: status.dumped() },
        (None, None) => Ended::Unknown,
    })
}

/// Kills a child and waits until it has ended; only for children without a handle.
pub(crate) fn kill_and_wait(pid: u32) {
    let Some(pid) = Pid::from_raw(pid.cast_signed()) else { return };
    if process::kill_process(pid, Signal::KILL).is_ok() {
        while let Err(rustix::io::Errno::INTR) =
            process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED)
        {}
    }
}

/// Kills a process by SIGKILL; has no effect on one that has ended already.
///
/// # Errors
///
/// The caller has no right to do that: one of the two processes has changed its user.
pub(crate) fn kill(pidfd: impl AsFd) -> io::Result<()> {
    signal(pidfd, libc::SIGKILL)
}

/// Returns the user of a process, as far as the caller can see it.
pub(crate) fn user_of(pid: u32) -> Option<u32> {
    Some(std::fs::metadata(format!("/proc/{pid}")).ok()?.uid())
}

/// Sends a signal to a process; has no effect on one that has ended already.
pub(crate) fn signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let (pidfd, no_info) = (pidfd.as_fd().as_raw_fd(), ptr::null::<libc::siginfo_t>());
    // SAFETY: the kernel is given no memory of ours.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, no_info, 0) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            error => Err(error),
        },
    }
}

/// Returns the status that the kernel keeps with the handle after other code has reaped the child
/// (Linux 6.15).
fn kept_answer(pidfd: impl AsFd) -> Ended {
    /// `struct pidfd_info` of `<linux/pidfd.h>`, its first version.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        mask: u64,
        cgroup: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const EXIT: u64 = 1 << 3;
    const GET_INFO: u64 = (3 << 30) | ((size_of::<Info>() as u64) << 16) | (0xff << 8) | 11;
    let mut info = Info { mask: EXIT, ..Info::default() };
    // SAFETY: the request's number holds the size of `info`, and the kernel fills at most that.
    let result =
        unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), GET_INFO as libc::Ioctl, &raw mut info) };
    if result != 0 || info.mask & EXIT == 0 {
        return Ended::Unknown;
    }
    let status = info.exit_code;
    if libc::WIFEXITED(status) {
        Ended::Exited(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        Ended::Signaled { signal, core_dumped: libc::WCOREDUMP(status) }
    } else {
        Ended::Unknown
    }
}

/// Returns the children of the calling thread: process id, and the short name that `ps` shows. None
/// if `/proc` does not list them.
pub(crate) fn of_calling_thread() -> Vec<(u32, String)> {
    listed_in("/proc/thread-self/children")
}

/// Returns the children of the first thread, as [`of_calling_thread`] does.
pub(crate) fn of_first_thread() -> Vec<(u32, String)> {
    // The link has the number of this process in the namespace of `/proc`.
    let first = std::fs::read_link("/proc/self").unwrap_or_default();
    listed_in(&format!("/proc/self/task/{}/children", first.display()))
}

fn listed_in(path: &str) -> Vec<(u32, String)> {
    let list = std::fs::read_to_string(path).unwrap_or_default();
    let own = status_of("self").map_or(1, |(_, numbers)| numbers.len());
    let known = list.split_ascii_whitespace().filter_map(|listed| {
        let (name, numbers) = status_of(listed)?;
        // The list has the numbers of the namespace of `/proc`, which may be an outer one.
        Some((*numbers.get(own.checked_sub(1)?)?, name))
    });
    known.collect()
}

/// Returns the short name of a process, and its numbers from the namespace of `/proc` inwards.
fn status_of(listed: &str) -> Option<(String, Vec<u32>)> {
    let status = std::fs::read_to_string(format!("/proc/{listed}/status")).ok()?;
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let numbers = field("NSpid:").or_else(|| field("Pid:"))?;
    let numbers = numbers.split_ascii_whitespace().filter_map(|number| number.parse().ok());
    Some((field("Name:")?.to_owned(), numbers.collect()))
}
