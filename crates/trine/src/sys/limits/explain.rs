//! Explains which limit of the system caused a refusal, and how to raise it.

use std::fmt::Write;
use std::fs;
use std::io;

use super::{cgroup, rlimit};

/// Explains why the kernel refused another thread or process (`what`).
///
/// The kernel returns EAGAIN for four different limits. The text lists those that can be read, so
/// that the reader sees which was met.
pub(crate) fn explain_refused_task(what: &str, error: &io::Error) -> String {
    let mut text = format!("the system refused another {what}: {error}");
    if error.raw_os_error() == Some(libc::EAGAIN)
        && let Some((group, most)) = cgroup::full_group()
    {
        let _ = write!(
            text,
            "; the control group {group} holds the {most} processes and threads that its pids.max \
             allows: raise it, or run fewer at once"
        );
        return text;
    }
    let (remedy, facts): (&str, &[_]) = match error.raw_os_error() {
        Some(libc::EAGAIN) => (
            "raise the one that was met, or run fewer at once",
            &[
                ("tasks on this machine", tasks_of_the_machine()),
                ("kernel.threads-max", number("/proc/sys/kernel/threads-max")),
                ("kernel.pid_max", number("/proc/sys/kernel/pid_max")),
                ("RLIMIT_NPROC (`ulimit -u`) of this user", rlimit::processes()),
                ("pids.max of the control group", number("/sys/fs/cgroup/pids.max")),
            ],
        ),
        Some(libc::ENOMEM) => {
            ("free memory, or raise the memory limit of the control group or `ulimit -v`", &[])
        }
        Some(libc::EMFILE) => (
            "raise it with `ulimit -n`, or run fewer at once",
            &[(
                "RLIMIT_NOFILE (`ulimit -n`), open descriptors of this process",
                rlimit::descriptors(),
            )],
        ),
        _ => ("", &[]),
    };
    let known = facts.iter().filter_map(|(name, value)| value.map(|value| (name, value)));
    for (number, (name, value)) in known.enumerate() {
        let separator = if number == 0 { "; limits: " } else { ", " };
        let _ = write!(text, "{separator}{name} {value}");
    }
    if !remedy.is_empty() {
        let _ = write!(text, "; {remedy}");
    }
    text
}

/// Explains why the kernel refused `what` (a descriptor, memory).
pub(crate) fn explain_missing(what: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ETOOMANYREFS) => {
            let limit =
                rlimit::descriptors().map_or_else(|| "the".into(), |limit| limit.to_string());
            format!(
                "no {what}: this process has {limit} descriptors open, all that it may \
                 (RLIMIT_NOFILE); raise the limit with `ulimit -n N`, or close some"
            )
        }
        Some(libc::ENFILE) => format!(
            "no {what}: the whole system has no more open files (fs.file-max); raise it with \
             `sysctl fs.file-max=N`"
        ),
        Some(libc::ENOMEM) => format!(
            "no {what}: no memory for it; look at `ulimit -v`, the memory limit of the control \
             group and vm.overcommit_memory"
        ),
        _ => format!("no {what}: {error}"),
    }
}

/// Returns the kernel's error for a process that has no descriptor left.
pub(crate) fn out_of_descriptors() -> io::Error {
    io::Error::from_raw_os_error(libc::EMFILE)
}

/// Returns the kernel's number for `error`, to be sent to another process.
pub(crate) fn error_number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Returns the number of all kernel tasks: the second half of the fourth field of `/proc/loadavg`.
fn tasks_of_the_machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').nth(3)?.split('/').nth(1)?.parse().ok()
}
