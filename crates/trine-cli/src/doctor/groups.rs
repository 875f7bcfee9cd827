//! Memory limits by control groups: tried with a worker that has one.

use std::fs;
use std::time::Duration;

use super::check::Check;

const NAME: &str = "cgroups";
/// Far more than a worker needs.
const LIMIT: u64 = 1 << 30;
const TIMEOUT: Duration = Duration::from_secs(20);

/// Checks the limits, unless process tasks do not run at all.
pub(super) fn check(processes_run: bool) -> Check {
    if !processes_run {
        return Check::missing(NAME, "not tried, as process tasks do not run", None);
    }
    let worker = trine::process::Builder::new().memory_limit(LIMIT).spawn((), |()| own_group());
    let group = match worker.join_timeout(TIMEOUT) {
        Ok(Ok(group)) => group,
        Ok(Err(error)) => return Check::missing(NAME, error.cause().to_string(), None),
        Err(worker) => {
            worker.cancel();
            let text = format!("a worker with a limit has not ended within {TIMEOUT:?}");
            return Check::missing(NAME, text, None);
        }
    };
    let is_own = |group: &str| group.rsplit('/').next().is_some_and(|it| it.starts_with("trine-"));
    match group {
        Some(group) if is_own(&group) => Check::works(
            NAME,
            "delegated: a memory limit counts all of a worker and of the processes it starts",
        ),
        Some(_) => Check::limited(
            NAME,
            "not delegated: a memory limit counts a worker's private memory, and that of each \
             process it starts for itself",
            String::from(
                "run the program as a systemd service with Delegate=yes and DelegateSubgroup=main, \
                 or in a container in a group of its own below the container's",
            ),
        ),
        None => Check::limited(
            NAME,
            "no control groups of version 2: a memory limit counts a worker's private memory, and \
             that of each process it starts for itself",
            String::from("start the kernel with `systemd.unified_cgroup_hierarchy=1`"),
        ),
    }
}

/// Returns the control group of the calling process; `None` if there are none of version 2 with a
/// controller for memory.
fn own_group() -> Option<String> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    // Before the hierarchy of version 2 come those of version 1, which then have the controllers.
    if groups.lines().any(|line| line.split(':').nth(1).is_some_and(|name| name == "memory")) {
        return None;
    }
    groups.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}
