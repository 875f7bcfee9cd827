//! Control groups (version 2): a memory limit for a process together with all that it starts.
//!
//! ```text
//!   /sys/fs/cgroup/…/service          has `memory` in its cgroup.subtree_control
//!     ├─ main                         this program
//!     └─ trine-41-57                  worker 57 of the program 41: memory.max, memory.swap.max = 0,
//!          └─ memory.events           memory.oom.group = 1; made by the worker, removed by the program
//! ```
//!
//! A group whose processes are not in groups below it cannot hand `memory` on, unless it is the root. So
//! groups for workers are made in the program's own group, or else beside it, which is what systemd's
//! `Delegate=yes` with `DelegateSubgroup=main` allows. Not beside a group that is itself a worker's: what
//! a worker starts stays under its limit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

const PREFIX: &str = "trine-";

/// The group in which this process can make groups with a memory limit; asked for once.
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

/// Where groups with a memory limit can be made, by what the kernel lists as mounts and as own groups.
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
    if hands_memory_on(&own) {
        return Some(own);
    }
    let is_worker = own.file_name()?.to_str()?.starts_with(PREFIX);
    let above = own.parent().filter(|above| !is_worker && above.starts_with(mount))?;
    hands_memory_on(above).then(|| above.to_owned())
}

fn hands_memory_on(group: &Path) -> bool {
    let controllers = fs::read_to_string(group.join("cgroup.subtree_control"));
    controllers.is_ok_and(|list| list.split_whitespace().any(|name| name == "memory"))
}

/// Removes groups of programs that are gone, where nothing is left in them.
fn sweep(within: &Path) {
    for entry in fs::read_dir(within).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let master = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        if master.is_some_and(|master| !Path::new("/proc").join(master).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

fn group_of(within: &Path, master: u32, worker: u32) -> PathBuf {
    within.join(format!("{PREFIX}{master}-{worker}"))
}

/// Moves the calling process, the worker of `master`, into a group of its own that may have `memory` bytes.
///
/// # Errors
///
/// What the file system says; the caller is where it was then, and nothing is left.
pub(crate) fn enter(within: &Path, master: u32, memory: u64) -> io::Result<()> {
    let process = std::process::id();
    let group = group_of(within, master, process);
    fs::create_dir(&group)?;
    let entered = fs::write(group.join("memory.max"), memory.to_string())
        // Without it, what goes beyond the limit is swapped out. A kernel without swap has no such file.
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

/// The limit of the group of `worker`, a child of this process, if it has one of its own and the kernel has killed in it
/// because the limit was met.
pub(crate) fn exhausted(within: &Path, worker: u32) -> Option<u64> {
    let group = group_of(within, std::process::id(), worker);
    let events = fs::read_to_string(group.join("memory.events")).ok()?;
    let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
    if killed.trim() == "0" {
        return None;
    }
    fs::read_to_string(group.join("memory.max")).ok()?.trim().parse().ok()
}

/// Removes the group of a worker that has ended, if it had one; where processes that it started are still in it, at a
/// later call.
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
        let tree = Imitation::new("beside", &["", "service"]);
        assert_eq!(find(&tree.mounts(), main), Some(tree.0.join("service")));
        assert_eq!(find(&tree.mounts(), "0::/\n"), Some(tree.0.clone()));
        // What a worker starts does not get out of the worker's group.
        fs::create_dir(tree.0.join("service/trine-1-2")).unwrap();
        assert_eq!(find(&tree.mounts(), "0::/service/trine-1-2\n"), None);
        let tree = Imitation::new("above", &[""]);
        assert_eq!(find(&tree.mounts(), main), None);
        assert_eq!(find(&tree.mounts(), "4:memory:/service\n"), None);
        assert_eq!(find("24 1 0:22 / /proc rw - proc proc rw\n", main), None);
        // Above the mount nothing is looked at.
        let tree = Imitation::new("mount", &[]);
        assert_eq!(find(&tree.mounts(), "0::/\n"), None);
        // A container sees a part of the tree.
        let tree = Imitation::new("part", &["service"]);
        let mounts = tree.mounts().replace(":30 / ", ":30 /docker/7 ");
        assert_eq!(find(&mounts, "0::/docker/7/service/main\n"), Some(tree.0.join("service")));
        assert_eq!(find(&mounts, "0::/elsewhere\n"), None);
    }

    #[test]
    fn a_group_has_its_limits_is_evidence_and_goes() {
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
        // The kernel's groups are removed with their files, others without.
        for entry in fs::read_dir(&group).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        remove(root, own);
        assert!(!group.exists());
        remove(root, own);
        // A second worker with the same number is not let in to a group that is there.
        fs::create_dir(&group).unwrap();
        assert!(enter(root, own, 1 << 20).is_err());
        // Of a program that is gone, and of one that is not.
        fs::create_dir(root.join("trine-4194305-9")).unwrap();
        sweep(root);
        assert!(!root.join("trine-4194305-9").exists() && group.exists());
    }
}
