//! Explains which limit of the system caused a refusal, and how to raise it.

use std::fmt::Write;
use std::io;

use super::met::{self, number, tasks_of_the_machine};
use super::rlimit;

/// The stack of a thread, if the program does not choose: std's.
const USUAL_STACK: u64 = 2 << 20;

/// Explains why the kernel refused another thread or process (`what`).
///
/// The kernel returns EAGAIN for four different limits, and the C library also for a stack that has
/// no room. The text names the limit that is met. If none is met any more, or the limit is another
/// process's, it lists those that can be read.
pub(crate) fn explain_refused_task(what: &str, error: &io::Error) -> String {
    let text = format!("the system refused another {what}: {error}");
    match met::by_task(error, USUAL_STACK) {
        Some(met) => format!("{text}; {met}: raise it, or run fewer at once"),
        None => text + &possible_limits(error),
    }
}

/// Like [`explain_refused_task`], for a thread with a stack of that many bytes.
pub(crate) fn explain_refused_thread(stack: usize, error: &io::Error) -> String {
    let text = format!("the system refused another thread: {error}");
    match met::by_task(error, stack as u64) {
        Some(met) => format!(
            "{text}; {met}, and it asks for a stack of {stack} bytes: choose a smaller one, or \
             raise the limit"
        ),
        None => format!(
            "{text}{}; or there is no address space (`ulimit -v`) for its stack of {stack} bytes: \
             choose a smaller one",
            possible_limits(error)
        ),
    }
}

/// Lists the limits that give this error, as far as they can be read, and the remedy.
fn possible_limits(error: &io::Error) -> String {
    let mut text = String::new();
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
        Some(libc::ETOOMANYREFS) => format!(
            "no {what}: as many descriptors of this user wait in sockets as RLIMIT_NOFILE \
             (`ulimit -n`) allows{}; raise the limit, or have their receivers take them",
            rlimit::descriptors().map_or_else(String::new, |limit| format!(" ({limit})"))
        ),
        Some(libc::EMFILE) => {
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
        Some(libc::ENOMEM | libc::EFBIG) => explain_no_memory(what, 0, error),
        _ => format!("no {what}: {error}"),
    }
}

/// Explains why the kernel refused `what`, which takes `bytes` of memory, and descriptors.
pub(crate) fn explain_no_memory(what: &str, bytes: u64, error: &io::Error) -> String {
    let is_too_large = error.raw_os_error() == Some(libc::EFBIG);
    if !is_too_large && error.raw_os_error() != Some(libc::ENOMEM) {
        return explain_missing(what, error);
    }
    if let Some(most) = rlimit::file_size().filter(|_| is_too_large) {
        return format!(
            "no {what}: it is a file without a name, and files of this process may have {most} \
             bytes (RLIMIT_FSIZE); raise the limit with `ulimit -f` or `LimitFSIZE=` of systemd"
        );
    }
    match met::memory(bytes.max(SMALL)) {
        Some(met) if !is_too_large => format!("no {what}: {met}; raise the limit, or free memory"),
        _ => format!(
            "no {what}: {error}; free memory, or check the memory limit of the control group, \
             `ulimit -v`, vm.overcommit_memory and vm.max_map_count"
        ),
    }
}

/// Returns the kernel's refusal of `what`, which takes `bytes` of memory, with the limit that was
/// met. If none can be named, the error stays as it is.
pub(crate) fn with_met_limit(what: &str, bytes: u64, error: io::Error) -> io::Error {
    let is_named = match error.raw_os_error() {
        Some(libc::EFBIG) => rlimit::file_size().is_some(),
        Some(libc::ENOMEM) => met::memory(bytes.max(SMALL)).is_some(),
        _ => false,
    };
    if !is_named {
        return error;
    }
    io::Error::new(error.kind(), explain_no_memory(what, bytes, &error))
}

/// Less than this is left of a limit that is met.
const SMALL: u64 = 64 << 10;

/// Returns the kernel's error for a process that has no descriptor left.
pub(crate) fn out_of_descriptors() -> io::Error {
    io::Error::from_raw_os_error(libc::EMFILE)
}

/// Returns the kernel's number for `error`, to be sent to another process.
pub(crate) fn error_number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}
