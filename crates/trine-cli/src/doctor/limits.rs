//! Limits of this process and of the machine.

use std::fmt::Display;
use std::fs;

use super::check::Check;
use super::kernel;
use crate::report::unit;

/// Fewer descriptors than this are soon used up: the usual limit of a shell.
const FEW_DESCRIPTORS: u64 = 1024;
/// Fewer further threads and processes than this are soon used up.
const FEW_TASKS: u64 = 512;
/// The kernel's default of vm.max_map_count.
const FEW_MAPPINGS: u64 = 65_530;

pub(super) fn checks() -> Vec<Check> {
    // Not rustix's function, whose result is undefined where a sandbox refuses the call.
    let limits = Limits(fs::read_to_string("/proc/self/limits").unwrap_or_default());
    let guards_map = kernel::version().is_none_or(|version| version < (6, 13));
    vec![
        descriptors(limits.of("Max open files")),
        tasks(&rooms(&limits)),
        memory("address_space", "ulimit -v", limits.of("Max address space")),
        memory("data", "ulimit -d", limits.of("Max data size")),
        memory("file_size", "ulimit -f", limits.of("Max file size")),
        mappings(number("/proc/sys/vm/max_map_count"), guards_map),
    ]
}

/// The text of `/proc/self/limits`.
struct Limits(String);

/// A soft and a hard limit; `None` if there is none.
type Limit = (Option<u64>, Option<u64>);

impl Limits {
    /// Returns a limit; `None` if it is unknown.
    fn of(&self, name: &str) -> Option<Limit> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name))?;
        let mut values = line.split_whitespace();
        let mut next = || match values.next()? {
            "unlimited" => Some(None),
            number => number.parse().ok().map(Some),
        };
        Some((next()?, next()?))
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn descriptors(limit: Option<Limit>) -> Check {
    let name = "descriptors";
    let Some((soft, hard)) = limit else {
        return Check::limited(name, "unknown: there is no /proc/self/limits", None);
    };
    let Some(most) = soft else { return Check::works(name, "unlimited") };
    let found = format!("{most} for sockets, files and workers, which take up to 4 each");
    if most >= FEW_DESCRIPTORS {
        return Check::works(name, found);
    }
    let remedy = match hard {
        Some(hard) if hard <= most => {
            "have root raise the hard limit: LimitNOFILE= of systemd, or \
                                       /etc/security/limits.conf"
                .into()
        }
        Some(hard) => format!("`ulimit -n {hard}`, or LimitNOFILE= of systemd"),
        None => "`ulimit -n 20000`, or LimitNOFILE= of systemd".into(),
    };
    Check::limited(name, found, remedy)
}

/// Room for threads and processes: how many more, and by which limit.
struct Room {
    more: u64,
    limit: String,
    remedy: &'static str,
}

/// Returns the rooms that the limits of the user, the machine and the control groups leave.
fn rooms(limits: &Limits) -> Vec<Room> {
    let mut rooms = Vec::new();
    let mut add = |most: u64, taken: u64, limit: &dyn Display, remedy| {
        let (more, limit) = (most.saturating_sub(taken), format!("{limit} of {most}"));
        rooms.push(Room { more, limit, remedy });
    };
    // The superuser has no such limit. Those of a user are not counted here: it takes long.
    if !rustix::process::getuid().is_root()
        && let Some((Some(most), _)) = limits.of("Max processes")
    {
        add(most, 0, &"the limit (`ulimit -u`)", "`ulimit -u N`, or LimitNPROC= of systemd");
    }
    let running = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let running = running.split(' ').nth(3).and_then(|it| it.split('/').nth(1)?.parse().ok());
    for (name, remedy) in
        [("threads-max", "`sysctl kernel.threads-max=N`"), ("pid_max", "`sysctl kernel.pid_max=N`")]
    {
        if let Some(most) = number(&format!("/proc/sys/kernel/{name}")) {
            add(most, running.unwrap_or(0), &format!("kernel.{name}"), remedy);
        }
    }
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
    let mut group = own.trim_end_matches('/');
    loop {
        let read = |file: &str| number(&format!("/sys/fs/cgroup{group}/{file}"));
        if let (Some(most), Some(now)) = (read("pids.max"), read("pids.current")) {
            let limit = format!("pids.max of the control group {group}/");
            add(most, now, &limit, "raise pids.max: TasksMax= of systemd, --pids-limit of Docker");
        }
        match group.rfind('/') {
            Some(at) => group = &group[..at],
            None => return rooms,
        }
    }
}

fn tasks(rooms: &[Room]) -> Check {
    let name = "threads_and_processes";
    let Some(least) = rooms.iter().min_by_key(|room| room.more) else {
        return Check::limited(name, "their limits are unknown: they are in /proc", None);
    };
    let found = format!("room for {} more at most, by {}", least.more, least.limit);
    if least.more < FEW_TASKS {
        return Check::limited(name, found, String::from(least.remedy));
    }
    Check::works(name, found)
}

/// Checks a limit of memory, which is best unlimited.
fn memory(name: &'static str, command: &str, limit: Option<Limit>) -> Check {
    let what = match name {
        "address_space" => "stacks set more of it aside than they use",
        "data" => "the heap, and the stacks of threads",
        _ => "shared memory and long arguments are files without a name, and count",
    };
    match limit {
        None => Check::limited(name, "unknown: there is no /proc/self/limits", None),
        Some((None, _)) => Check::works(name, "unlimited"),
        Some((Some(most), _)) => {
            let found = format!("{} ({what})", unit::BYTES.show(most as f64));
            let remedy = format!(
                "`{command} unlimited`; to limit memory, use a control group, or `memory_limit` \
                 of a pool"
            );
            Check::limited(name, found, remedy)
        }
    }
}

/// Checks the number of mappings. Before Linux 6.13, `guards_map`: a stack with its guard is two.
fn mappings(most: Option<u64>, guards_map: bool) -> Check {
    let name = "mappings";
    match most {
        None => Check::works(name, "vm.max_map_count is unknown"),
        Some(most) if !guards_map => Check::works(
            name,
            format!("vm.max_map_count is {most}, and the guards of stacks take none"),
        ),
        Some(most) => {
            let coroutines = most / 2;
            let found = format!(
                "vm.max_map_count is {most}: about {coroutines} coroutines at once, as the guard \
                 of each takes a mapping"
            );
            if most > FEW_MAPPINGS {
                return Check::works(name, found);
            }
            let remedy = "`sysctl vm.max_map_count=1048576`, or Linux 6.13 or newer";
            Check::limited(name, found, String::from(remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::State;

    const TEXT: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max file size             unlimited            unlimited            bytes
Max processes             300                  96365                processes
Max open files            64                   4096                 files
";

    #[test]
    fn limits_are_read_from_the_kernels_table() {
        let limits = Limits(TEXT.into());
        assert_eq!(limits.of("Max file size"), Some((None, None)));
        assert_eq!(limits.of("Max open files"), Some((Some(64), Some(4096))));
        assert_eq!(limits.of("Max data size"), None);
    }

    #[test]
    fn a_low_limit_has_the_remedy_that_is_allowed() {
        let check = descriptors(Some((Some(64), Some(4096))));
        assert_eq!(check.state, State::Limited);
        assert!(check.remedy.unwrap().contains("ulimit -n 4096"));
        let check = descriptors(Some((Some(64), Some(64))));
        assert!(check.remedy.unwrap().contains("root"));
        assert_eq!(descriptors(Some((Some(1024), Some(4096)))).state, State::Works);
        assert_eq!(descriptors(Some((None, None))).state, State::Works);
    }

    #[test]
    fn the_least_room_counts() {
        let room = |more, limit: &str| Room { more, limit: limit.into(), remedy: "raise it" };
        let check = tasks(&[room(9000, "kernel.pid_max"), room(3, "pids.max")]);
        assert_eq!(check.state, State::Limited);
        assert!(check.found.contains("3 more") && check.found.contains("pids.max"));
        assert_eq!(tasks(&[room(9000, "kernel.pid_max")]).state, State::Works);
    }

    #[test]
    fn mappings_limit_coroutines_on_older_kernels_only() {
        assert_eq!(mappings(Some(65_530), true).state, State::Limited);
        assert_eq!(mappings(Some(65_530), false).state, State::Works);
        assert_eq!(mappings(Some(1 << 20), true).state, State::Works);
    }
}
