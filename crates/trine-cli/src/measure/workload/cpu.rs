//! CPU time of this program and of its children, dead or alive.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A stopwatch of CPU time, user and system: of this process and of its children, dead or alive.
/// Worker processes are living children.
///
/// The time of a living child is the sum of the scheduler statistics of its threads, in
/// nanoseconds. If the clock ticks (of 10 ms) in its `stat` file are more, they count instead: the
/// kernel may keep no statistics, or threads may have ended.
pub(crate) struct Stopwatch {
    own: Duration,
    children: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Stopwatch {
        // Reading the children's times takes CPU time itself, which must not count, here and at
        // the end.
        let children = dead_children() + living_children();
        Stopwatch { own: own(), children }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        let own = own() - self.own;
        own + (dead_children() + living_children()).saturating_sub(self.children)
    }
}

fn own() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns the CPU time of the reaped children, from two fields of our own `stat`.
fn dead_children() -> Duration {
    stat("self").map_or(Duration::ZERO, |stat| ticks(stat.children_ticks))
}

fn living_children() -> Duration {
    let me = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else { return Duration::ZERO };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.parse::<u32>().ok()?;
            let stat = stat(&name).filter(|stat| stat.parent == me)?;
            Some(scheduled(&name).unwrap_or_default().max(ticks(stat.ticks)))
        })
        .sum()
}

struct Stat {
    parent: u32,
    ticks: u64,
    children_ticks: u64,
}

/// Reads `/proc/PID/stat`; see proc_pid_stat(5) for the order of its fields.
fn stat(pid: &str) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The command's name, in parentheses, may hold any byte, so parse after the last parenthesis.
    let after = text.iter().rposition(|&byte| byte == b')')? + 2;
    let fields = std::str::from_utf8(text.get(after..)?).ok()?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let number = |nth: usize| fields.get(nth - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(4)?).ok()?,
        ticks: number(14)? + number(15)?,
        children_ticks: number(16)? + number(17)?,
    })
}

/// Returns the CPU time of a process's threads from the scheduler's statistics.
fn scheduled(pid: &str) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut nanoseconds = 0;
    for thread in threads.flatten() {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        nanoseconds += text.split_ascii_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanoseconds))
}

fn ticks(count: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second();
    Duration::from_secs_f64(count as f64 / per_second as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_counts_while_it_lives() {
        let stopwatch = Stopwatch::start();
        // A shell that computes, prints a line, and stays until its standard input is closed.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read line"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0; 4];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        assert!(stopwatch.elapsed() > Duration::from_millis(10));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
