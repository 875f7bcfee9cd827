//! Which limit of the system stood behind a refusal, and how to raise it.

use std::fmt::Write;
use std::fs;
use std::io;

/// Explains why the kernel refused another thread or process (`what`).
///
/// The kernel says EAGAIN for four different limits; the text gives the ones that can be read, so
/// that the reader sees which was met.
pub(crate) fn explain_refused_task(what: &str, error: &io::Error) -> String {
    let mut text = format!("the system refused another {what}: {error}");
    let (remedy, facts): (&str, &[_]) = match error.raw_os_error() {
        Some(libc::EAGAIN) => (
            "raise the one that was met, or run fewer at once",
            &[
                ("tasks on this machine", tasks_of_the_machine()),
                ("kernel.threads-max", number("/proc/sys/kernel/threads-max")),
                ("kernel.pid_max", number("/proc/sys/kernel/pid_max")),
                ("`ulimit -u` of this user", user_processes()),
                ("pids.max of the control group", number("/sys/fs/cgroup/pids.max")),
            ],
        ),
        Some(libc::ENOMEM) => {
            ("free memory, or raise the memory limit of the control group or `ulimit -v`", &[])
        }
        Some(libc::EMFILE) => (
            "raise it with `ulimit -n`, or run fewer at once",
            &[("`ulimit -n`, open descriptors of this process", open_descriptors())],
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

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The second half of the fourth field of `/proc/loadavg`: all kernel tasks.
fn tasks_of_the_machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').nth(3)?.split('/').nth(1)?.parse().ok()
}

fn user_processes() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nproc).current
}

fn open_descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}
