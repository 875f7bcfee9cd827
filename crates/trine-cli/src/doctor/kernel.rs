//! The kernel, and those of its features that older kernels and containers lack.

use std::fs;

use trine::Reactor;
use trine::process::{Part, Sandbox};

use super::check::Check;

pub(super) fn checks() -> Vec<Check> {
    vec![kernel(), io_uring(), landlock(), seccomp()]
}

/// Returns the version of the running kernel: `(6, 18)` of `6.18.44-generic`.
pub(super) fn version() -> Option<(u32, u32)> {
    version_of(&rustix::system::uname().release().to_string_lossy())
}

fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel() -> Check {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let found = format!("Linux {release}");
    match version() {
        Some(version) if version < (5, 10) => {
            Check::missing("kernel", found, String::from("trine needs Linux 5.10 or newer"))
        }
        _ => Check::works("kernel", found),
    }
}

fn io_uring() -> Check {
    let name = "io_uring";
    let reactor = trine::reactor();
    if reactor.kind() == Reactor::IoUring {
        return Check::works(name, "coroutines wait for sockets with it");
    }
    let instead = "coroutines wait for sockets with epoll instead";
    let Some(why) = reactor.refused() else {
        let remedy = String::from("unset TRINE_REACTOR");
        return Check::limited(
            name,
            format!("not asked for: TRINE_REACTOR=epoll; {instead}"),
            remedy,
        );
    };
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let remedy = io_uring_remedy(why, disabled.trim());
    Check::limited(name, format!("refused ({why}); {instead}"), remedy)
}

/// Returns the remedy for a refusal, given the text of the error and kernel.io_uring_disabled.
fn io_uring_remedy(why: &str, disabled: &str) -> Option<String> {
    let is =
        |errno: rustix::io::Errno| why.contains(&format!("(os error {})", errno.raw_os_error()));
    if is(rustix::io::Errno::PERM) || is(rustix::io::Errno::ACCESS) {
        return Some(match disabled {
            "2" => "`sysctl kernel.io_uring_disabled=0`".into(),
            "1" => "`sysctl kernel.io_uring_disabled=0`, or run as a member of the group that \
                    `sysctl kernel.io_uring_group` names"
                .into(),
            _ => "a seccomp filter forbids it, that of a container perhaps: allow io_uring_setup, \
                  io_uring_enter and io_uring_register there"
                .into(),
        });
    }
    if is(rustix::io::Errno::MFILE) {
        return Some("raise the limit of descriptors: `ulimit -n N`".into());
    }
    if is(rustix::io::Errno::NOSYS) {
        return Some("Linux 6.1 or newer, built with CONFIG_IO_URING".into());
    }
    if is(rustix::io::Errno::NOMEM) {
        return Some("raise the limit of locked memory: `ulimit -l KIB`; or free memory".into());
    }
    // Older kernels: the error says so.
    version().is_some_and(|version| version < (6, 1)).then(|| "Linux 6.1 or newer".into())
}

fn landlock() -> Check {
    let name = "landlock";
    let enforced = Sandbox::new().no_files().no_network().check();
    let reasons = |part: Option<Part>| {
        let missing = enforced.missing().iter();
        let of_part = missing.filter(|missing| part.is_none_or(|part| missing.part() == part));
        of_part.map(|missing| missing.reason().to_owned()).collect::<Vec<_>>().join("; ")
    };
    match enforced.landlock() {
        None => Check::missing(
            name,
            "sandboxes cannot deny files to a worker",
            Some(reasons(Some(Part::Files))),
        ),
        Some(version) if !enforced.is_complete() && enforced.seccomp() => Check::limited(
            name,
            format!("version {version}: not all parts of a sandbox can be enforced"),
            Some(reasons(None)),
        ),
        Some(version) => Check::works(name, format!("version {version}: sandboxes can deny files")),
    }
}

fn seccomp() -> Check {
    let name = "seccomp";
    let enforced = Sandbox::new().no_exec().check();
    if enforced.seccomp() {
        return Check::works(name, "sandboxes can deny network, programs and system calls");
    }
    let reason = enforced.missing().iter().find(|missing| missing.part() == Part::Exec);
    let reason = reason.map(|missing| missing.reason().to_owned());
    Check::missing(name, "sandboxes cannot deny network, programs or system calls", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_version() {
        assert_eq!(version_of("6.18.44-generic"), Some((6, 18)));
        assert_eq!(version_of("5.10-rc1"), Some((5, 10)));
        assert_eq!(version_of("unknown"), None);
    }

    #[test]
    fn each_refusal_of_io_uring_has_its_remedy() {
        let remedy = |errno: i32, disabled| {
            io_uring_remedy(&std::io::Error::from_raw_os_error(errno).to_string(), disabled)
        };
        let forbidden = rustix::io::Errno::PERM.raw_os_error();
        assert!(remedy(forbidden, "2").unwrap().contains("io_uring_disabled=0"));
        assert!(remedy(forbidden, "1").unwrap().contains("io_uring_group"));
        assert!(remedy(forbidden, "0").unwrap().contains("seccomp"));
        assert!(remedy(forbidden, "").unwrap().contains("seccomp"));
        let full = rustix::io::Errno::MFILE.raw_os_error();
        assert!(remedy(full, "0").unwrap().contains("ulimit -n"));
        let none = rustix::io::Errno::NOSYS.raw_os_error();
        assert!(remedy(none, "").unwrap().contains("CONFIG_IO_URING"));
    }
}
