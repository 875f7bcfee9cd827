//! Fixtures that all tests share, above all for running the test program as a child.

// Each program uses its own part of them.
#![allow(dead_code, unreachable_pub)]

pub mod filters;
pub mod journal;
pub mod limits;
pub mod places;
pub mod processes;
pub mod reports;
pub mod seeds;
pub mod starts;
pub mod temporary;
pub mod waiting;
pub mod wakers;

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use starts::start;
use temporary::TempPath;
use trine::Cause;

/// Makes a child of `program` that runs the test `name`, which plays `role` there.
pub fn child(program: &Path, name: &str, role: &str) -> Command {
    let mut command = Command::new(program);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    command.env("TRINE_TEST_ROLE", role).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    command
}

/// Makes a child of this program that runs the running test, which plays `role` there.
pub fn again(role: &str) -> Command {
    child(&this_program(), &this_test(), role)
}

/// Returns the full name of the running test: the harness names the test's thread by it.
pub fn this_test() -> String {
    let name = std::thread::current().name().map(str::to_owned);
    name.expect("the thread of a test has the test's name")
}

/// Returns the full name of another test in the module of the running test.
pub fn beside(test: &str) -> String {
    match this_test().rsplit_once("::") {
        Some((module, _)) => format!("{module}::{test}"),
        None => test.to_owned(),
    }
}

/// Runs the running test once more, in a process of its own with these variables.
pub fn alone(variables: &[(&str, &str)]) -> Output {
    let mut command = again("alone");
    start(command.envs(variables.iter().copied())).unwrap().wait_with_output().unwrap()
}

pub fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

pub fn role() -> Option<String> {
    std::env::var("TRINE_TEST_ROLE").ok()
}

/// Runs a child until it ends, and asserts its success. Returns its standard error.
pub fn run(mut command: Command) -> String {
    let output = start(&mut command).unwrap().wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}\n{out}\n{text}", output.status);
    assert!(!out.contains("running 0 tests"), "the child has no test of that name");
    text
}

pub fn children_of_all_threads(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()));
    }
    children
}

/// Returns the directory of the control group that a worker with a memory limit has for itself, if
/// it has one.
pub fn worker_group() -> Option<PathBuf> {
    let worker = trine::process::Builder::new().memory_limit(64 << 20);
    worker.spawn((), |()| own_group()).join().unwrap()
}

/// Returns the directory of this process's control group, if it is a worker's.
pub fn own_group() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let is_worker = Path::new(own).file_name()?.to_str()?.starts_with("trine-");
    is_worker.then(|| Path::new("/sys/fs/cgroup").join(own))
}

pub fn not_spawned(error: &trine::TaskError) -> &str {
    match error.cause() {
        Cause::NotSpawned { reason } => reason,
        other => panic!("{other:?}"),
    }
}

/// Joins a task of a pool that has no workers. Returns the reason.
pub fn reason_of<T>(task: trine::Task<T>) -> String {
    let error = task.join().err().expect("the pool has no worker");
    not_spawned(&error).to_owned()
}

/// Returns the interruption that is inside an error of I/O.
pub fn interruption(error: &io::Error) -> Option<&trine::Interrupted> {
    error.get_ref()?.downcast_ref()
}

/// Returns true if the error is that of a call of a cancelled task.
pub fn is_cancelled(error: &io::Error) -> bool {
    interruption(error).is_some_and(trine::Interrupted::is_cancelled)
}

/// Returns the kind and the text of an error.
#[track_caller]
pub fn kind_and_text<T>(result: io::Result<T>) -> (ErrorKind, String) {
    let error = result.err().expect("an error");
    (error.kind(), error.to_string())
}

/// Copies this program to a place where any user may run it.
///
/// `cp` makes the copy. A descriptor that this process has open for writing would be inherited by a
/// child of another test, and a file that is open for writing cannot be run.
pub fn copy(name: &str) -> TempPath {
    let copy = TempPath::new(name);
    let copied = Command::new("cp").arg(this_program()).arg(&copy.0).status().unwrap();
    assert!(copied.success(), "cp: {copied}");
    copy
}
