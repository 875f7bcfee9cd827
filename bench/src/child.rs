//! One measurement in a fresh process, bounded in time.
//!
//! The child leads a process group of its own, and the whole group is killed at the end, so its
//! workers never outlive it. The leader is still unreaped then, so the group's id cannot have been
//! reused. Output goes to memory files, not to pipes: a pipe that a stray worker has inherited
//! never ends.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, set_parent_process_death_signal,
};

use crate::row::Sample;

/// The exit code of this program when a program that it needs is not installed.
pub const ABSENT: u8 = 3;

/// The reason why there is no sample.
pub enum Failure {
    /// The peer is not installed; further rounds are skipped.
    Absent(String),
    /// The measurement exceeded its limit; further rounds are skipped.
    TimedOut(Duration),
    /// The measurement reported an error, or crashed.
    Failed(String),
}

/// Runs `command` and parses the sample from the last line that it prints.
pub fn measure(mut command: Command, limit: Duration) -> Result<Sample, Failure> {
    let failed = |error: anyhow::Error| Failure::Failed(format!("{error:#}"));
    let (stdout, stderr) = (memory_file().map_err(failed)?, memory_file().map_err(failed)?);
    command.process_group(0).stdin(Stdio::null());
    // A group of its own gets no interrupt from the terminal, so the kernel kills it with us.
    // SAFETY: between fork and exec it makes one system call and touches no lock or memory.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command.stdout(stdout.try_clone().map_err(|e| failed(e.into()))?);
    command.stderr(stderr.try_clone().map_err(|e| failed(e.into()))?);

    let status = match run(&mut command, limit) {
        Ok(Some(status)) => status,
        Ok(None) => return Err(Failure::TimedOut(limit)),
        Err(error) => {
            let program = command.get_program().to_string_lossy();
            return Err(Failure::Absent(format!("{program} does not start: {error:#}")));
        }
    };
    let (stdout, stderr) = (text(&stdout), text(&stderr));
    if !status.success() {
        let message = last_line(&stderr).unwrap_or("printed no error");
        let message = message.trim_start_matches("trine-bench: ");
        if status.code() == Some(ABSENT.into()) {
            return Err(Failure::Absent(message.into()));
        }
        // With exit code 1, the program has printed the reason.
        let how = if status.code() == Some(1) { String::new() } else { format!("{status}: ") };
        return Err(Failure::Failed(format!("{how}{message}")));
    }
    let line = last_line(&stdout).unwrap_or_default();
    serde_json::from_str(line).map_err(|e| Failure::Failed(format!("printed no sample: {e}")))
}

/// Runs `command` to its end; returns `None` if the limit passed and the command was killed.
fn run(command: &mut Command, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let mut child = command.spawn()?;
    let pid = Pid::from_child(&child);
    let in_time = wait(pid, limit);
    // The leader is unreaped, so the group's id is still its own. An error means that none is left.
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait()?;
    Ok(in_time?.then_some(status))
}

/// Waits until the child has ended, without reaping it; returns true if that was in time.
fn wait(pid: Pid, limit: Duration) -> anyhow::Result<bool> {
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&left)) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return Ok(ready.context("poll")? > 0),
        }
    }
}

fn memory_file() -> anyhow::Result<File> {
    Ok(memfd_create("trine-bench", MemfdFlags::CLOEXEC).context("memfd_create")?.into())
}

/// Reads the text in `file` without moving the offset, which a stray worker may share.
fn text(file: &File) -> String {
    let length = file.metadata().map_or(0, |meta| meta.len());
    let mut bytes = vec![0; length as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("cannot be read back: {error}"),
    }
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_last_line_is_the_sample() {
        let line = r#"echo talk; echo '{"values":{"ns":1.5}}'"#;
        let sample = measure(shell(line), Duration::from_secs(10)).ok().unwrap();
        assert_eq!(sample.values["ns"], 1.5);
    }

    #[test]
    fn a_failure_is_reported_in_its_own_words() {
        let failure = measure(shell("echo no luck >&2; exit 1"), Duration::from_secs(10));
        assert!(matches!(failure, Err(Failure::Failed(why)) if why == "no luck"));
    }

    #[test]
    fn a_child_that_hangs_is_killed_with_the_children_it_started() {
        let note = std::env::temp_dir().join(format!("trine-bench-test-{}", std::process::id()));
        let script = format!("sleep 60 & echo $! > {}; sleep 60", note.display());
        let failure = measure(shell(&script), Duration::from_millis(500));
        assert!(matches!(failure, Err(Failure::TimedOut(_))));

        let grandchild = std::fs::read_to_string(&note).unwrap();
        std::fs::remove_file(&note).unwrap();
        let stat = format!("/proc/{}/stat", grandchild.trim());
        let deadline = Instant::now() + Duration::from_secs(10);
        // The entry disappears, or shows a zombie until the reaper of orphans gets to it.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < deadline, "the grandchild lives on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_measurement_can_report_that_a_program_is_absent() {
        let failure = measure(shell("echo no wrk >&2; exit 3"), Duration::from_secs(10));
        assert!(matches!(failure, Err(Failure::Absent(why)) if why == "no wrk"));
    }

    #[test]
    fn a_missing_program_is_absent() {
        let command = Command::new("/nonexistent/program");
        let failure = measure(command, Duration::from_secs(10));
        assert!(matches!(failure, Err(Failure::Absent(_))));
    }
}
