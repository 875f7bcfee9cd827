//! The limits on processes and descriptors, and which of them stood behind a refusal.

use std::io;

use rustix::process::{Resource, getrlimit};

/// How many descriptors this process may have open; `None` for as many as it wants.
pub(crate) fn descriptors() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// How large the first thread's stack may grow, in bytes; `None` for as large as it wants.
pub(crate) fn stack() -> Option<u64> {
    getrlimit(Resource::Stack).current
}

/// The kernel's number for `error`, for what crosses to another process.
pub(crate) fn error_number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Says why `what` was refused: which limit was met, and how to raise it.
pub(crate) fn explain(what: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ETOOMANYREFS) => {
            let limit = descriptors().map_or_else(|| "its".into(), |limit| limit.to_string());
            format!(
                "{what}: this process has {limit} descriptors open, all that it may \
                 (RLIMIT_NOFILE); raise the limit with `ulimit -n N`, or close some"
            )
        }
        Some(libc::ENFILE) => format!(
            "{what}: the whole system has no more open files (fs.file-max); raise it with \
             `sysctl fs.file-max=N`"
        ),
        Some(libc::EAGAIN) => format!("{what}: {}", explain_process_limit()),
        Some(libc::ENOMEM) => format!(
            "{what}: no memory for it; look at `ulimit -v`, the memory limit of the control group \
             and vm.overcommit_memory"
        ),
        _ => format!("{what}: {error}"),
    }
}

/// `EAGAIN` from a fork: one of four limits on the number of processes and threads.
fn explain_process_limit() -> String {
    if let Some((path, most)) = full_control_group() {
        return format!(
            "the control group {path} holds the {most} processes and threads that its pids.max \
             allows; raise it there"
        );
    }
    let ours = match getrlimit(Resource::Nproc).current {
        Some(most) => format!(
            "this user may have {most} processes and threads (RLIMIT_NPROC; raise it with \
             `ulimit -u N`)"
        ),
        None => "this user may have any number of them".into(),
    };
    let all = |name: &str| {
        let path = format!("/proc/sys/kernel/{name}");
        std::fs::read_to_string(path).map_or_else(|_| "?".into(), |text| text.trim().to_owned())
    };
    format!(
        "the limit for processes is met: {ours}, the system {} (kernel.pid_max) and {} \
         (kernel.threads-max; raise them with `sysctl`)",
        all("pid_max"),
        all("threads-max"),
    )
}

/// The innermost control group around this process that is full, and what it may hold.
fn full_control_group() -> Option<(String, u64)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let read = |group: &str, file: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/sys/fs/cgroup{group}/{file}")).ok()?.trim().parse().ok()
    };
    let mut group = own.trim_end_matches('/');
    loop {
        if let (Some(now), Some(most)) = (read(group, "pids.current"), read(group, "pids.max"))
            && now >= most
        {
            return Some((if group.is_empty() { "/" } else { group }.to_owned(), most));
        }
        group = &group[..group.rfind('/')?];
    }
}
