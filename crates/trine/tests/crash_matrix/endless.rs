//! The failure happens at each start. After three starts the tasks end with the reason, and the
//! next task that is submitted tries again.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use trine::process::{Pool, PoolBuilder};
use trine::{Cause, time};

use crate::common::filters::filter;
use crate::common::not_spawned;
use crate::common::temporary::TempPath;
use crate::common::waiting::until_or;
use crate::pools::{WORKERS, are_unharmed, is_at_full_strength, others};
use crate::starts::BOUND;

/// The variable that names the test's folder for a preload or an initializer.
const FOLDER: &str = "TRINE_TEST_FOLDER";

fn own_folder() -> PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

/// Notes that a start has begun. Returns true if the test has mended the cause.
fn begin() -> bool {
    let folder = own_folder();
    let mut log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    writeln!(log, "{}", std::process::id()).unwrap();
    folder.join("mended").exists()
}

fn hang() {
    if !begin() {
        loop {
            std::thread::park();
        }
    }
}

/// Counts the starts that have begun.
fn begun(folder: &Path) -> usize {
    fs::read_to_string(folder.join("log")).map_or(0, |log| log.lines().count())
}

/// All tasks of a pool that has never had a worker end with a reason that contains `parts`, after a
/// number of starts that `starts` accepts. When the cause is mended, the next task runs.
fn end_with_reason(
    build: impl FnOnce(PoolBuilder) -> Pool,
    starts: impl Fn(usize) -> bool,
    parts: &[&str],
) {
    let folder = TempPath::folder("matrix");
    let pool = build(Pool::builder().workers(WORKERS).env(FOLDER, &folder.0));
    for task in others(&pool) {
        let error = task.join().unwrap_err();
        let reason = not_spawned(&error);
        parts.iter().for_each(|part| assert!(reason.contains(part), "{reason}"));
    }
    let begun = begun(&folder.0);
    assert!(starts(begun), "{begun} starts");
    assert_eq!(pool.worker_pids(), []);
    fs::write(folder.0.join("mended"), "").unwrap();
    // On a machine so busy that this start takes too long as well, the next task tries again.
    until_or("a worker", || pool.spawn(1, |n: u8| n).join().is_ok());
    is_at_full_strength(pool);
}

#[test]
fn an_initializer_that_never_ends_is_an_error_that_says_what_to_do() {
    let parts =
        ["3 workers in a row", "initializer", "4s (`start_timeout`)", "SIGSTOP", "allow more time"];
    // The workers that exist when the third is killed. A worker may be killed before its
    // initializer runs.
    let starts = |count| count < 3 + WORKERS;
    end_with_reason(|pool| pool.start_timeout(BOUND).initializer(hang).build(), starts, &parts);
}

#[test]
fn a_preload_that_never_ends_is_an_error_that_says_what_to_do() {
    let parts =
        ["3 times in a row", "preload", "4s (`start_timeout`)", "SIGSTOP", "allow more time"];
    end_with_reason(
        |pool| pool.start_timeout(BOUND).preload(hang).build(),
        |count| count <= 3,
        &parts,
    );
}

/// Installs a filter by which the kernel kills this process when it forks.
fn die_at_the_next_fork() {
    if !begin() {
        filter(libc::SYS_clone, libc::SECCOMP_RET_KILL_PROCESS);
    }
}

#[test]
fn a_template_that_dies_at_each_fork_is_an_error_and_not_a_loop() {
    let parts = ["died 3 times before it had forked a worker", "SIGSYS"];
    // The pool's own attempt, and those of tasks that were submitted after it.
    let starts = |count: usize| count.is_multiple_of(3) && (3..=60).contains(&count);
    end_with_reason(|pool| pool.preload(die_at_the_next_fork).build(), starts, &parts);
}

/// A start that is allowed to take long and does. Deadlines hold, a cancelled task ends, and the
/// pool's end does not wait.
#[test]
fn deadlines_hold_while_a_worker_starts() {
    let long = Duration::from_secs(3600);
    let hang_in_initializer = |pool: PoolBuilder| pool.initializer(hang).build();
    let hang_in_preload = |pool: PoolBuilder| pool.preload(hang).build();
    for build in [hang_in_initializer, hang_in_preload] as [fn(PoolBuilder) -> Pool; 2] {
        let folder = TempPath::folder("matrix");
        let pool = build(Pool::builder().workers(1).env(FOLDER, &folder.0).start_timeout(long));
        let spawn = || Ok::<_, trine::TaskError>(pool.spawn(1, |n: u8| n));
        let late = time::timeout(Duration::from_millis(20), spawn).unwrap().unwrap();
        assert!(matches!(late.join().unwrap_err().cause(), Cause::TimedOut));
        let cancelled = pool.spawn(1, |n: u8| n);
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is_cancelled());
        pool.shutdown();
    }
}

/// One of two workers is well. It does all tasks, though the other never becomes ready.
#[test]
fn a_worker_that_is_well_does_the_tasks_of_one_that_never_comes() {
    let folder = TempPath::folder("matrix");
    let initializer = || {
        let mine = own_folder().join("mine");
        if File::options().write(true).create_new(true).open(mine).is_err() {
            hang();
        }
    };
    let builder = Pool::builder().workers(WORKERS).env(FOLDER, &folder.0);
    let pool = builder.start_timeout(Duration::from_secs(3600)).initializer(initializer).build();
    are_unharmed(others(&pool), "one is well");
    pool.shutdown();
}
