//! Tasks of workers that are not ready yet, while another worker is idle.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use trine::process::Pool;

use super::pid;
use crate::common::reports::{Reports, wait_for_release};
use crate::common::temporary::TempPath;
use crate::common::waiting::until;

const FOLDER: &str = "TRINE_TEST_FOLDER";
const ALL: &str = "all";

/// An initializer that returns at once in the first worker, and in the others when their gate is
/// open.
fn wait_at_the_gate() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    if File::create_new(folder.join("first")).is_ok() {
        return;
    }
    let own = folder.join(std::process::id().to_string());
    while !own.exists() && !folder.join(ALL).exists() {
        thread::sleep(Duration::from_millis(1));
    }
}

fn open(folder: &Path, gate: impl ToString) {
    File::create(folder.join(gate.to_string())).unwrap();
}

/// Makes a pool with one ready worker. Returns that worker as well; the others have been forked.
fn one_of(workers: usize, folder: &Path) -> (Pool, u32) {
    let builder = Pool::builder().workers(workers).env(FOLDER, folder.to_str().unwrap());
    let pool = builder.initializer(wait_at_the_gate).build();
    let ready = pool.spawn(0, pid).join().unwrap();
    until(|| pool.worker_pids().len() == workers);
    (pool, ready)
}

#[test]
fn the_one_that_is_ready_finds_what_it_can_take_over() {
    for _ in 0..8 {
        let (reports, folder) = (Reports::open(), TempPath::folder("starts"));
        let (pool, ready) = one_of(4, &folder.0);
        let held = pool.spawn(reports.path.clone(), wait_for_release);
        let (holder, stream) = reports.accept();
        assert_eq!(holder, ready);
        // These go through the socket, from where no worker can take them over.
        let long = [1, 2].map(|_| pool.spawn(vec![0_u8; 100_000], |bytes: Vec<u8>| bytes.len()));
        let short = pool.spawn(0, pid);
        drop(stream);
        assert_eq!(short.join().unwrap(), ready);
        assert_eq!(held.join().unwrap(), ready);
        open(&folder.0, ALL);
        assert!(long.into_iter().all(|task| task.join().unwrap() == 100_000));
        pool.shutdown();
    }
}

#[test]
fn one_whose_task_was_taken_over_tells_when_it_is_ready() {
    for round in 0..8 {
        let (reports, folder) = (Reports::open(), TempPath::folder("starts"));
        let (pool, ready) = one_of(3, &folder.0);
        let held = pool.spawn(reports.path.clone(), wait_for_release);
        let (holder, stream) = reports.accept();
        assert_eq!(holder, ready);
        let tasks = [1, 2].map(|_| pool.spawn(reports.path.clone(), wait_for_release));
        drop(stream);
        let (second, stream) = reports.accept();
        assert_eq!(second, ready);
        // The next worker has the third task, or takes it over.
        let others = pool.worker_pids().into_iter().filter(|worker| *worker != ready);
        let next = others.collect::<Vec<_>>()[round % 2];
        open(&folder.0, next);
        let (third, other) = reports.accept();
        assert_eq!(third, next);
        drop((stream, other));
        open(&folder.0, ALL);
        assert!(held.join().is_ok() && tasks.into_iter().all(|task| task.join().is_ok()));
        pool.shutdown();
    }
}
