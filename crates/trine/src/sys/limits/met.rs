//! Finds the limit that was met among those that give the same error, as far as the system shows.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, getuid};

use super::{available, cgroup};

/// Names the limit that leaves no room for `bytes` of new memory, and how to raise it; `None` if
/// all that can be read have room.
pub(super) fn memory(bytes: u64) -> Option<String> {
    address_space(bytes)
        .or_else(mappings)
        .or_else(|| data(bytes))
        .or_else(|| control_group(bytes))
        .or_else(|| commitment(bytes))
}

/// The least time for which an answer of [`by_task`] holds. A queue of many tasks may be refused at
/// once.
const KNOWN: Duration = Duration::from_millis(100);
/// An answer holds for at least this many times the time that it took, so that the caller, such as
/// the service thread, has time for others.
const REST: u32 = 20;
/// The time for counting the processes of a user.
const COUNTING: Duration = Duration::from_millis(20);

/// An answer of [`by_task`]: the moment until which it holds, what was asked, and the text.
type Answer = (Instant, (Option<i32>, u64), Option<String>);

/// Names the limit by which the kernel, or the C library, has refused a process, or a thread with a
/// stack of that many bytes.
pub(super) fn by_task(error: &io::Error, stack: u64) -> Option<String> {
    static LAST: Mutex<Option<Answer>> = Mutex::new(None);
    let asked = (error.raw_os_error(), stack);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let begin = Instant::now();
    if let Some((until, known, text)) = &*last
        && *known == asked
        && begin < *until
    {
        return text.clone();
    }
    let text = match error.raw_os_error() {
        Some(libc::EAGAIN) => tasks().or_else(|| memory(stack)),
        Some(libc::ENOMEM) => memory(stack),
        _ => None,
    };
    *last = Some((Instant::now() + KNOWN.max(begin.elapsed() * REST), asked, text.clone()));
    text
}

/// Names the limit that allows no further thread or process.
fn tasks() -> Option<String> {
    if let Some((group, most)) = cgroup::full_group() {
        return Some(format!(
            "the control group {group} holds the {most} processes and threads that its pids.max \
             allows"
        ));
    }
    // The superuser has no such limit.
    let user = getuid().as_raw();
    if user != 0
        && let Some(most) = getrlimit(Resource::Nproc).current
        && tasks_of_the_machine().is_none_or(|running| running >= most)
    {
        match has_tasks(Path::new("/proc"), user, most, Instant::now() + COUNTING) {
            Some(true) => {
                return Some(format!(
                    "user {user} has the {most} processes and threads that RLIMIT_NPROC \
                     (`ulimit -u`) allows"
                ));
            }
            Some(false) => {}
            None => {
                return Some(format!(
                    "user {user} may have {most} processes and threads (RLIMIT_NPROC, \
                     `ulimit -u`), and the machine has too many to count those of a user"
                ));
            }
        }
    }
    let running = tasks_of_the_machine()?;
    ["threads-max", "pid_max"].into_iter().find_map(|name| {
        let most = number(&format!("/proc/sys/kernel/{name}"))?;
        (running >= most).then(|| {
            format!("the machine has the {most} processes and threads that kernel.{name} allows")
        })
    })
}

fn address_space(bytes: u64) -> Option<String> {
    let most = getrlimit(Resource::As).current?;
    let taken = status("VmSize:")?;
    (taken.saturating_add(bytes) > most).then(|| {
        format!(
            "{taken} bytes of address space are taken, of the {most} that RLIMIT_AS \
             (`ulimit -v`) allows"
        )
    })
}

fn mappings() -> Option<String> {
    let most = number("/proc/sys/vm/max_map_count")?;
    let present = fs::read_to_string("/proc/self/maps").ok()?.lines().count() as u64;
    // One call may take two, and the list may have merged some by now.
    (present + 2 >= most).then(|| {
        format!("this process has {present} mappings, of the {most} that vm.max_map_count allows")
    })
}

fn data(bytes: u64) -> Option<String> {
    let most = getrlimit(Resource::Data).current?;
    let taken = status("VmData:")?;
    (taken.saturating_add(bytes) > most).then(|| {
        format!(
            "{taken} bytes of private memory are taken, of the {most} that RLIMIT_DATA \
             (`ulimit -d`) allows"
        )
    })
}

fn control_group(bytes: u64) -> Option<String> {
    cgroup::own_groups().find_map(|group| {
        let (room, most) = available::room_in_group(&group)?;
        let name = if group.is_empty() { "/" } else { &group };
        (room < bytes).then(|| {
            format!(
                "the control group {name} has room for {room} bytes, of the {most} that its \
                 memory.max allows"
            )
        })
    })
}

/// Strict accounting (`vm.overcommit_memory` is 2).
fn commitment(bytes: u64) -> Option<String> {
    if number("/proc/sys/vm/overcommit_memory")? != 2 {
        return None;
    }
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name| available::field(&info, name);
    let (most, promised) = (kib("CommitLimit:")? * 1024, kib("Committed_AS:")? * 1024);
    (promised.saturating_add(bytes) > most).then(|| {
        format!(
            "{promised} bytes of memory are promised, of the {most} that \
             vm.overcommit_memory=2 allows"
        )
    })
}

/// Returns an amount of memory from `/proc/self/status`, in bytes.
fn status(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    available::field(&status, name).map(|kib| kib * 1024)
}

pub(super) fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Returns the number of all kernel tasks: the second half of the fourth field of `/proc/loadavg`.
pub(super) fn tasks_of_the_machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').nth(3)?.split('/').nth(1)?.parse().ok()
}

/// Returns true if a user has at least `most` threads in all processes, which `proc` lists; `None`
/// if they could not be counted by `until`.
fn has_tasks(proc: &Path, user: u32, most: u64, until: Instant) -> Option<bool> {
    let mut found = 0;
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        if found >= most {
            break;
        }
        if Instant::now() >= until {
            return None;
        }
        found += threads_of(&process, user).unwrap_or(0);
    }
    Some(found >= most)
}

/// Returns the number of threads of a process, if it belongs to a user.
fn threads_of(process: &DirEntry, user: u32) -> Option<u64> {
    process.file_name().to_str()?.parse::<u32>().ok()?;
    let status = fs::read_to_string(process.path().join("status")).ok()?;
    let is_theirs = available::field(&status, "Uid:")? == u64::from(user);
    is_theirs.then(|| available::field(&status, "Threads:")).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threads_of_a_user_are_counted_for_a_limited_time() {
        let proc = std::env::temp_dir().join(format!("trine-unit-proc-{}", std::process::id()));
        for (pid, user, threads) in [(1, 5, 3), (2, 6, 100), (3, 5, 4)] {
            let process = proc.join(pid.to_string());
            fs::create_dir_all(&process).unwrap();
            let status = format!("Uid:\t{user}\t0\t0\t0\nThreads:\t{threads}\n");
            fs::write(process.join("status"), status).unwrap();
        }
        fs::create_dir_all(proc.join("sys")).unwrap();
        let now = Instant::now();
        let later = now + Duration::from_secs(3600);
        let has = |most, until| has_tasks(&proc, 5, most, until);
        assert_eq!([has(7, later), has(8, later), has(7, now)], [Some(true), Some(false), None]);
        // All that were asked for are found before the time is looked at.
        assert_eq!(has(0, now), Some(true));
        fs::remove_dir_all(proc).unwrap();
    }
}
