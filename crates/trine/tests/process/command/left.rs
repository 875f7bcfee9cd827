//! No descriptor, zombie or process is left.

use std::fs;
use std::time::Duration;

use trine::process::{Command, Stdio};
use trine::{coroutine, time};

use super::{everywhere, sh};
use crate::common::processes::descriptors;
use crate::common::{again, children_of_all_threads, role, run};

fn children() -> Vec<u32> {
    children_of_all_threads(std::process::id())
}

/// Returns when the child is a zombie, or reaped.
fn until_dead(pid: u32) {
    let runs = |stat: String| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z');
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(runs) {
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_left_of_programs_that_have_ended() {
    if role().as_deref() != Some("counts") {
        let mut counts = again("counts");
        // Another carrier that starts late would open descriptors of its own.
        counts.env("TRINE_CARRIERS", "1");
        run(counts);
        return;
    }
    round();
    let before = descriptors();
    for _ in 0..5 {
        round();
        assert_eq!((descriptors(), children()), (before, vec![]));
    }
}

fn round() {
    everywhere(|| {
        sh("echo; echo >&2").output().unwrap();
        sh("exit 3").status().unwrap();
        let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(cat.wait_timeout(Duration::from_millis(1)).is_ok());
        cat.wait().unwrap();
        Command::new("/no/such").output().unwrap_err();
        let slow = || Command::new("sleep").arg("600").output();
        assert!(!matches!(time::timeout(Duration::from_millis(1), slow), Ok(Ok(_))));
        let killed = Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap();
        let pid = killed.id();
        drop(killed);
        until_dead(pid);
        let tasks: Vec<_> = (0..10)
            .map(|_| coroutine::spawn(|| Command::new("sleep").arg("600").status().map(drop)))
            .collect();
        tasks.iter().for_each(trine::Task::cancel);
        tasks.into_iter().for_each(|task| assert!(!matches!(task.join(), Ok(Ok(())))));
        // The last command reaps the children that were dropped.
        sh("true").status().unwrap();
    });
}

#[test]
fn a_dropped_child_is_reaped_when_the_next_one_starts() {
    if role().as_deref() != Some("reaper") {
        run(again("reaper"));
        return;
    }
    let spawn = |_| Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let mut cats: Vec<_> = (0..10).map(spawn).collect();
    let stdins: Vec<_> = cats.iter_mut().map(|cat| cat.stdin.take()).collect();
    // They run when they are dropped, and end afterwards.
    drop(cats);
    let pids = children();
    assert_eq!(pids.len(), 10);
    drop(stdins);
    pids.into_iter().for_each(until_dead);
    assert_eq!(children().len(), 10);
    assert!(sh("true").status().unwrap().success());
    assert_eq!(children(), []);
}
