//! Control groups (version 2): the groups around this process, and a memory limit for a worker
//! together with all processes that it starts.
//!
//! ```text
//!   /sys/fs/cgroup/…/service    delegated; has `memory` in its cgroup.subtree_control
//!     ├─ main                   this program
//!     └─ trine-41-57            worker 57 of the program 41: memory.max, memory.swap.max = 0,
//!          └─ memory.events     memory.oom.group = 1; made by the worker, removed by the program
//! ```
//!
//! A group with processes of its own cannot hand `memory` on to groups below it, unless it is the
//! root. So groups for workers are made in the program's own group, or else beside it. The latter
//! is what systemd's `Delegate=yes` with `DelegateSubgroup=main` allows.
//!
//! Two places are excluded. Beside a group that is itself a worker's: programs that a worker starts
//! stay under its limit. Beside the group of a service without delegation, which root could do: the
//! workers would escape the service's own limits.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

const PREFIX: &str = "trine-";

/// Returns the control group of this process and those around it, from the inside out, as paths
/// below the mount.
pub(super) fn own_groups() -> impl Iterator<Item = String> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let own = own.map(|group| group.trim_end_matches('/').to_owned());
    std::iter::successors(own, |group| Some(group[..group.rfind('/')?].to_owned()))
}

/// Returns the content of a file of one of the [own groups](own_groups).
pub(super) fn text(group: &str, file: &str) -> Option<String> {
    fs::read_to_string(format!("/sys/fs/cgroup{group}/{file}")).ok()
}

/// Returns the number in a file of one of the [own groups](own_groups).
pub(super) fn number(group: &str, file: &str) -> Option<u64> {
    text(group, file)?.trim().parse().ok()
}

/// Returns the innermost control group around this process that may hold no more processes and
/// threads, and how many it may hold.
pub(super) fn full_group() -> Option<(String, u64)> {
    own_groups().find_map(|group| {
        let now = number(&group, "pids.current")?;
        let most = number(&group, "pids.max")?;
        let name = if group.is_empty() { "/".to_owned() } else { group };
        (now >= most).then_some((name, most))
    })
}

/// Returns the group in which this process can make groups with a memory limit. Searches once.
pub(crate) fn delegated() -> Option<&'static Path> {
    static DELEGATED: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = DELEGATED.get_or_init(|| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let found = find(&mounts, &groups)?;
        sweep(&found);
        Some(found)
    });
    found.as_deref()
}

/// Finds the group in which groups with a memory limit can be made, given the kernel's lists of
/// mounts and of this process's groups.
fn find(mounts: &str, groups: &str) -> Option<PathBuf> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    // … root, mount point, options, any number of tags, `-`, type, …
    let (root, mount) = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        after.starts_with("cgroup2 ").then_some((fields.next()?, fields.next()?))
    })?;
    let below = Path::new(own).strip_prefix(root).ok()?;
    let own = Path::new(mount).join(below);
    if has_memory(&own, SUBTREE) {
        return Some(own);
    }
    let is_worker = own.file_name()?.to_str()?.starts_with(PREFIX);
    let above = own.parent().filter(|above| !is_worker && above.starts_with(mount))?;
    (is_delegated(above, Path::new(mount)) && hands_memory_on(above)).then(|| above.to_owned())
}

/// Returns true if programs in `group` may make groups in it. systemd makes the service's user the
/// owner of a delegated group, and sets an attribute of it. In a container, every visible group is
/// delegated.
fn is_delegated(group: &Path, mount: &Path) -> bool {
    let is_noted = |name: &str| {
        let mut value = [0; 1];
        rustix::fs::getxattr(group, name, &mut value) == Ok(1) && value == *b"1"
    };
    // Every group has this file, except for the root of all groups.
    (group == mount && group.join("cgroup.events").exists())
        || fs::metadata(group).is_ok_and(|group| group.uid() != 0)
        || is_noted("user.delegate")
        || is_noted("trusted.delegate")
}

/// Makes the groups in `group`, which is delegated, have memory limits: systemd leaves that to the
/// programs in it. Returns true if they have them.
fn hands_memory_on(group: &Path) -> bool {
    has_memory(group, SUBTREE)
        || (has_memory(group, "cgroup.controllers")
            && fs::write(group.join(SUBTREE), "+memory").is_ok())
}

/// The file with the controllers that the groups in a group have.
const SUBTREE: &str = "cgroup.subtree_control";

fn has_memory(group: &Path, list: &str) -> bool {
    let controllers = fs::read_to_string(group.join(list));
    controllers.is_ok_and(|list| list.split_whitespace().any(|name| name == "memory"))
}

/// Removes the empty groups of programs that have exited. This process has made none yet, so groups
/// under its process id belong to an earlier program with that id.
fn sweep(within: &Path) {
    let own = std::process::id().to_string();
    for entry in fs::read_dir(within).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let master = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if master.is_some_and(|it| it == own || !is_alive(it)) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Returns false if there is no process with this id.
fn is_alive(pid: &str) -> bool {
    let pid = pid.parse().ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

fn group_of(within: &Path, master: u32, worker: u32) -> PathBuf {
    within.join(format!("{PREFIX}{master}-{worker}"))
}

/// Moves the calling process, a worker of `master`, into a group of its own with a limit of
/// `memory` bytes.
///
/// # Errors
///
/// The file system's. The caller then stays in its group, and the new group is removed.
pub(crate) fn enter(within: &Path, master: u32, memory: u64) -> io::Result<()> {
    let process = std::process::id();
    let group = group_of(within, master, process);
    // Left by another worker with these numbers, whose master was killed.
    let _ = fs::remove_dir(&group);
    fs::create_dir(&group)?;
    let entered = fs::write(group.join("memory.max"), memory.to_string())
        // Without it, memory beyond the limit is swapped out. A kernel without swap has no such
        // file.
        .and_then(|()| or_missing(fs::write(group.join("memory.swap.max"), "0")))
        .and_then(|()| fs::write(group.join("memory.oom.group"), "1"))
        .and_then(|()| fs::write(group.join("cgroup.procs"), process.to_string()));
    if entered.is_err() {
        let _ = fs::remove_dir(&group);
    }
    entered
}

fn or_missing(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => Ok(()),
        other => other,
    }
}

/// Returns the limit of the group of `worker`, a child of this process, if the kernel has killed a
/// process in it because the limit was met.
pub(crate) fn exhausted(within: &Path, worker: u32) -> Option<u64> {
    let group = group_of(within, std::process::id(), worker);
    let events = fs::read_to_string(group.join("memory.events")).ok()?;
    let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    if killed.trim() == "0" {
        return None;
    }
    fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()
}

/// Removes the group of a worker that has ended, if it had one. A group that still holds processes
/// which the worker started is removed by a later call.
pub(crate) fn remove(within: &Path, worker: u32) {
    static LEFT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.push(group_of(within, std::process::id(), worker));
    left.retain(|group| {
        fs::remove_dir(group).is_err_and(|error| error.kind() == io::ErrorKind::ResourceBusy)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like a tree of groups; removed when dropped.
    struct Imitation(PathBuf);

    impl Imitation {
        fn new(name: &str, handing_on: &[&str]) -> Imitation {
            let root = std::env::temp_dir().join(format!("cgroup-{}-{name}", std::process::id()));
            fs::create_dir_all(root.join("service/main")).unwrap();
            for group in ["", "service", "service/main"] {
                let controllers =
                    if handing_on.contains(&group) { "cpu memory pids\n" } else { "\n" };
                fs::write(root.join(group).join("cgroup.subtree_control"), controllers).unwrap();
            }
            Imitation(root)
        }

        /// Makes another user than root the owner of the service, as systemd does.
        fn delegated(name: &str, handing_on: &[&str]) -> Imitation {
            let tree = Imitation::new(name, handing_on);
            let service = tree.0.join("service");
            if fs::metadata(&service).unwrap().uid() == 0 {
                std::os::unix::fs::chown(service, Some(1), None).unwrap();
            }
            tree
        }

        fn mounts(&self) -> String {
            let root = self.0.display();
            format!(
                "24 1 0:22 / /proc rw - proc proc rw\n\
                 35 24 0:30 / {root} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
            )
        }
    }

    impl Drop for Imitation {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn groups_are_made_where_memory_is_handed_on_and_nowhere_else() {
        let main = "4:memory:/x\n0::/service/main\n";
        let tree = Imitation::new("own", &["service/main"]);
        assert_eq!(find(&tree.mounts(), main), Some(tree.0.join("service/main")));
        let tree = Imitation::delegated("beside", &["", "service"]);
        assert_eq!(find(&tree.mounts(), main), Some(tree.0.join("service")));
        assert_eq!(find(&tree.mounts(), "0::/\n"), Some(tree.0.clone()));
        // Processes that a worker starts do not leave the worker's group.
        fs::create_dir(tree.0.join("service/trine-1-2")).unwrap();
        assert_eq!(find(&tree.mounts(), "0::/service/trine-1-2\n"), None);
        let tree = Imitation::new("above", &[""]);
        assert_eq!(find(&tree.mounts(), main), None);
        assert_eq!(find(&tree.mounts(), "4:memory:/service\n"), None);
        assert_eq!(find("24 1 0:22 / /proc rw - proc proc rw\n", main), None);
        // Groups above the mount are not considered.
        let tree = Imitation::new("mount", &[]);
        assert_eq!(find(&tree.mounts(), "0::/\n"), None);
        // In a container, where a part of the tree is visible.
        let tree = Imitation::delegated("part", &["service"]);
        let mounts = tree.mounts().replace(":30 / ", ":30 /docker/7 ");
        assert_eq!(find(&mounts, "0::/docker/7/service/main\n"), Some(tree.0.join("service")));
        assert_eq!(find(&mounts, "0::/elsewhere\n"), None);
    }

    #[test]
    fn only_a_group_that_is_delegated_has_groups_made_in_it() {
        let main = "0::/service/main\n";
        // systemd does not hand the controllers on, it only allows programs to.
        let tree = Imitation::delegated("allowed", &[]);
        assert_eq!(find(&tree.mounts(), main), None);
        fs::write(tree.0.join("service/cgroup.controllers"), "cpu memory\n").unwrap();
        assert_eq!(find(&tree.mounts(), main), Some(tree.0.join("service")));
        assert_eq!(fs::read_to_string(tree.0.join("service").join(SUBTREE)).unwrap(), "+memory");
        // In a container every visible group is delegated; the root of all groups is not.
        let tree = Imitation::new("root", &[""]);
        let is_root = fs::metadata(&tree.0).unwrap().uid() == 0;
        assert_eq!(find(&tree.mounts(), "0::/service\n").is_some(), !is_root);
        fs::write(tree.0.join("cgroup.events"), "populated 1\n").unwrap();
        assert_eq!(find(&tree.mounts(), "0::/service\n"), Some(tree.0.clone()));
        // A service of root's, by systemd's attribute alone, if the test's file system has
        // attributes.
        let tree = Imitation::new("noted", &["service"]);
        let service = tree.0.join("service");
        if is_root {
            assert_eq!(find(&tree.mounts(), main), None);
        }
        let flags = rustix::fs::XattrFlags::empty();
        if rustix::fs::setxattr(&service, "user.delegate", b"1", flags).is_ok() {
            assert_eq!(find(&tree.mounts(), main), Some(service));
        }
    }

    #[test]
    fn a_group_has_its_limits_gives_evidence_and_is_removed() {
        let tree = Imitation::new("life", &[""]);
        let (own, root) = (std::process::id(), &tree.0);
        // Here the worker is its own master.
        enter(root, own, 1 << 20).unwrap();
        let group = group_of(root, own, own);
        let read = |file: &str| fs::read_to_string(group.join(file)).unwrap();
        assert_eq!(read("memory.max"), "1048576");
        assert_eq!((read("memory.swap.max"), read("memory.oom.group")), ("0".into(), "1".into()));
        assert_eq!(read("cgroup.procs"), own.to_string());
        assert_eq!(exhausted(root, own), None);
        fs::write(group.join("memory.events"), "low 0\nmax 7\noom 1\noom_kill 0\n").unwrap();
        assert_eq!(exhausted(root, own), None);
        fs::write(group.join("memory.events"), "low 0\nmax 7\noom 1\noom_kill 2\n").unwrap();
        assert_eq!(exhausted(root, own), Some(1 << 20));
        assert_eq!(exhausted(root, own + 1), None);
        // The kernel removes a group with its files; an ordinary directory has to be empty.
        for entry in fs::read_dir(&group).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        remove(root, own);
        assert!(!group.exists());
        remove(root, own);
        // A group left from before is made anew, unless something is in it.
        fs::create_dir(&group).unwrap();
        enter(root, own, 1 << 21).unwrap();
        assert_eq!(read("memory.max"), "2097152");
        assert!(enter(root, own, 1 << 20).is_err());
        assert_eq!(read("memory.max"), "2097152");
        // Groups of a program that has exited, of one that runs, and of one with this process's id.
        let [exited, parent, before] =
            [4_194_305, std::os::unix::process::parent_id(), own].map(|it| group_of(root, it, 9));
        for group in [&exited, &parent, &before] {
            fs::create_dir(group).unwrap();
        }
        sweep(root);
        assert!(!exited.exists() && parent.exists() && !before.exists() && group.exists());
    }
}
