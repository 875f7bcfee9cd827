//! The limits of the system: which of them stood behind a refusal, and how to raise it.

pub(crate) mod affinity;
pub(crate) mod cgroup;
pub(crate) mod cpu_clock;
pub(crate) mod rlimit;

use std::fmt::Write;
use std::fs;
use std::io;

/// Explains why the kernel refused another thread or process (`what`).
///
/// The kernel says EAGAIN for four different limits; the text gives the ones that can be read, so
/// that the reader sees which was met.
pub(crate) fn explain_refused_task(what: &str, error: &io::Error) -> String {
    let mut text = format!("the system refused another {what}: {error}");
    if error.raw_os_error() == Some(libc::EAGAIN)
        && let Some((group, most)) = full_control_group()
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
                ("RLIMIT_NPROC (`ulimit -u`) of this user", user_processes()),
                ("pids.max of the control group", number("/sys/fs/cgroup/pids.max")),
            ],
        ),
        Some(libc::ENOMEM) => {
            ("free memory, or raise the memory limit of the control group or `ulimit -v`", &[])
        }
        Some(libc::EMFILE) => (
            "raise it with `ulimit -n`, or run fewer at once",
            &[("RLIMIT_NOFILE (`ulimit -n`), open descriptors of this process", descriptors())],
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

/// How many bytes of memory can be taken without pushing other programs out, in this control group and on this
/// machine; `None` where the system does not say.
///
/// The kernel itself promises any amount, and ends some process when the promise cannot be kept.
pub(crate) fn available_memory() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| field(&info, name).map(|kib| kib * 1024);
    let machine = field("MemAvailable:")?.saturating_add(field("SwapFree:").unwrap_or(0));
    let most = own_control_groups().filter_map(|group| {
        let folder = format!("/sys/fs/cgroup{group}");
        let most = number(&format!("{folder}/memory.max"))?;
        let used = number(&format!("{folder}/memory.current"))?;
        let caches = fs::read_to_string(format!("{folder}/memory.stat"));
        let caches = self::field(&caches.ok()?, "inactive_file").unwrap_or(0);
        Some(most.saturating_sub(used.saturating_sub(caches)))
    });
    Some(most.fold(machine, u64::min))
}

/// The number behind `name` in a text of names and numbers.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_ascii_whitespace);
    lines
        .find_map(|mut words| if words.next()? == name { words.next()?.parse().ok() } else { None })
}

/// The control group of this process, and those that it is in, from the inside out.
fn own_control_groups() -> impl Iterator<Item = String> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let own = own.map(|group| group.trim_end_matches('/').to_owned());
    std::iter::successors(own, |group| Some(group[..group.rfind('/')?].to_owned()))
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

/// How many descriptors this process may have open; `None` for as many as it wants.
pub(crate) fn descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Whether this process may open one more descriptor.
pub(crate) fn has_descriptor_left() -> bool {
    // Another opening of a directory that is always there.
    fs::File::open("/").is_ok()
}

/// How many bytes the message queues of this user may take; `None` for as many as it wants.
pub(crate) fn message_queue_bytes() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel writes a structure of that type.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_MSGQUEUE, &raw mut limit) };
    (asked == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// How large the first thread's stack may grow, in bytes; `None` for as large as it wants.
pub(crate) fn stack() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Stack).current
}

/// What the kernel says to a process that has all the descriptors it may have.
pub(crate) fn out_of_descriptors() -> io::Error {
    io::Error::from_raw_os_error(libc::EMFILE)
}

/// The kernel's number for `error`, for what crosses to another process.
pub(crate) fn error_number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Says why there is no `what` (a descriptor, memory): which limit was met, and how to raise it.
pub(crate) fn explain_missing(what: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ETOOMANYREFS) => {
            let limit = descriptors().map_or_else(|| "the".into(), |limit| limit.to_string());
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

/// The innermost control group around this process that is full, and what it may hold.
fn full_control_group() -> Option<(String, u64)> {
    own_control_groups().find_map(|group| {
        let now = number(&format!("/sys/fs/cgroup{group}/pids.current"))?;
        let most = number(&format!("/sys/fs/cgroup{group}/pids.max"))?;
        let name = if group.is_empty() { "/".to_owned() } else { group };
        (now >= most).then_some((name, most))
    })
}
