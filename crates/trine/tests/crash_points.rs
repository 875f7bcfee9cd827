//! Either side of a pool is killed at each labelled step of their protocol.
//!
//! The labels are read from the sources, so none is forgotten. For each of them this program runs
//! itself as a master that works through a few hundred tasks. Variables name the step and the side
//! that dies there (`src/sys/crash.rs`).
#![cfg(feature = "crash-points")]

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use trine::process::Pool;
use trine::{Cause, Executor, Task, TaskError};

mod common;

use common::processes::{children, descriptors, shared_mappings};
use common::temporary::TempPath;
use common::waiting::{a_second, until_or};
use common::{again, role, run};

/// The variable that names the folder of a run.
const FOLDER: &str = "TRINE_CRASH_DIR";

fn folder() -> PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

/// A folder of one run.
struct Folder(TempPath);

impl Folder {
    fn new() -> Folder {
        Folder(TempPath::folder("crash"))
    }

    fn path(&self) -> &Path {
        &self.0.0
    }

    fn has_fired(&self) -> bool {
        self.path().join("fired").exists()
    }

    /// Lists the processes that were started with this folder in their environment, and their
    /// forks.
    fn processes(&self) -> Vec<u32> {
        let ours = format!("{FOLDER}={}\0", self.path().display());
        let pids = fs::read_dir("/proc").unwrap().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.windows(ours.len()).any(|window| window == ours.as_bytes())
            })
            .collect()
    }
}

/// Reads all labels from the sources, in order.
fn labels() -> Vec<String> {
    fn collect(folder: &Path, labels: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                collect(&path, labels);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let calls = text.split("crash_point!(\"").skip(1);
                labels.extend(calls.map(|call| call.split('"').next().unwrap().to_owned()));
            }
        }
    }
    let mut labels = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut labels);
    labels.sort();
    assert!(labels.len() > 30, "{labels:?}");
    assert!(labels.windows(2).all(|two| two[0] != two[1]), "each label once: {labels:?}");
    labels
}

/// Returns true if a process of this side comes to the step. The label begins with the side, or
/// with `ring`, which master and worker share.
fn is_of(label: &str, side: &str) -> bool {
    let whose = label.split(':').next().unwrap();
    whose == side || (whose == "ring" && side != "template")
}

/// Tasks with a known end in every run.
const ABORTS: u32 = 4000;
const IS_CANCELLED: u32 = 5000;

/// Notes that the task runs. Called in a worker.
fn note(task: u32) {
    let runs = OpenOptions::new().append(true).create(true).open(folder().join("runs"));
    runs.unwrap().write_all(&task.to_le_bytes()).unwrap();
}

/// Counts the runs of each task.
fn runs(folder: &Path) -> HashMap<u32, u32> {
    let mut runs = HashMap::new();
    for run in fs::read(folder.join("runs")).unwrap_or_default().chunks_exact(4) {
        *runs.entry(u32::from_le_bytes(run.try_into().unwrap())).or_default() += 1;
    }
    runs
}

fn quick(task: u32) -> u32 {
    note(task);
    task + 1
}

fn slow(task: u32) -> u32 {
    note(task);
    std::thread::sleep(Duration::from_millis(1));
    task + 1
}

/// Works through a few hundred tasks of all kinds. Returns the end of each.
fn work(pool: &Pool) -> Vec<(u32, Result<u32, TaskError>)> {
    let mut ends = Vec::new();
    let mut join = |tasks: Vec<(u32, Task<u32>)>| {
        ends.extend(tasks.into_iter().map(|(task, handle)| (task, handle.join())));
    };
    // The first worker gets all of them, and the second takes some of them over.
    join((0..20).map(|n| (n, pool.spawn(n, slow))).collect());
    join((100..300).map(|n| (n, pool.spawn(n, quick))).collect());
    for n in 300..304 {
        join(vec![(n, pool.spawn(n, slow))]);
    }
    join(vec![(
        3000,
        pool.spawn(3000, |n| {
            note(n);
            std::thread::sleep(Duration::from_millis(30));
            n + 1
        }),
    )]);
    let long = |n: u32| {
        pool.spawn((n, vec![n as u8; 20_000]), |(n, bytes)| {
            note(n);
            (n + 1, bytes)
        })
    };
    let tasks: Vec<_> = (2000..2012).map(|n| (n, long(n))).collect();
    let long = tasks.into_iter().map(|(n, task)| {
        let value = task.join().map(|(next, bytes)| {
            assert_eq!(bytes, vec![n as u8; 20_000]);
            next
        });
        (n, value)
    });
    ends.extend(long.collect::<Vec<_>>());
    ends.extend((1000..1400).zip(pool.map(1000..1400, quick).chunk(16)));
    let abort = pool.spawn(ABORTS, |n| -> u32 {
        note(n);
        std::process::abort()
    });
    ends.push((ABORTS, abort.join()));
    let cancelled = pool.spawn(IS_CANCELLED, |n| -> u32 {
        note(n);
        trine::time::sleep(Duration::MAX);
        n
    });
    while !cancelled.is_finished() && !runs(&folder()).contains_key(&IS_CANCELLED) {
        std::thread::yield_now();
    }
    cancelled.cancel();
    ends.push((IS_CANCELLED, cancelled.join()));
    ends
}

fn master() {
    let pool = Pool::builder().workers(2).initializer(|| ()).build();
    let ends = work(&pool);
    let runs = runs(&folder());
    let mut failed = Vec::new();
    for (task, end) in ends {
        let count = runs.get(&task).copied().unwrap_or(0);
        match end {
            Ok(value) => {
                assert_eq!(value, task + 1);
                assert_eq!(count, 1, "task {task} has a value");
                assert!(task != ABORTS && task != IS_CANCELLED);
            }
            Err(error) => {
                assert!(count <= 1, "task {task} has run {count} times: {error}");
                match error.cause() {
                    Cause::Signaled { signal: libc::SIGKILL, .. } => failed.push(task),
                    Cause::Signaled { signal: libc::SIGABRT, .. } => assert_eq!(task, ABORTS),
                    Cause::Cancelled { .. } => assert_eq!(task, IS_CANCELLED),
                    other => panic!("task {task}: {other:?}"),
                }
            }
        }
    }
    let a_worker_dies =
        std::env::var("TRINE_CRASH_POINT").is_ok_and(|point| point.contains("@worker"));
    assert!(failed.len() <= usize::from(a_worker_dies), "{failed:?}");
    until_or("two workers", || pool.worker_pids().len() == 2);
    assert!((0..50).map(|n| pool.spawn(n, |n: u32| n + 1).join().unwrap()).eq(1..51));
    pool.shutdown();
    // The template stays.
    until_or("no workers", || children() <= 1);
    fs::write(folder().join("left"), format!("{} {}", descriptors(), shared_mappings())).unwrap();
}

/// Returns the counts of descriptors and shared mappings that a run has left open.
fn left(folder: &Folder) -> Vec<usize> {
    let left = fs::read_to_string(folder.path().join("left")).unwrap();
    left.split(' ').map(|count| count.parse().unwrap()).collect()
}

/// The passages through a step at which a side dies. Each side surely comes to the first.
const PASSAGES: [u32; 2] = [1, 6];

#[test]
fn a_worker_or_a_template_dies_at_every_step() {
    if role().is_some() {
        return master();
    }
    let unharmed = Folder::new();
    let mut command = again("master");
    command.env(FOLDER, unharmed.path());
    run(command);
    let most = left(&unharmed);
    let mut fired = 0;
    for label in labels() {
        for (side, passage) in
            [("worker", PASSAGES[0]), ("worker", PASSAGES[1]), ("template", PASSAGES[0])]
        {
            if !is_of(&label, side) {
                continue;
            }
            let point = format!("{label}@{side}:{passage}");
            println!("{point}");
            let folder = Folder::new();
            let mut command = again("master");
            command.env(FOLDER, folder.path()).env("TRINE_CRASH_POINT", &point);
            run(command);
            assert!(folder.has_fired() || passage > 1, "no process has come to {point}");
            fired += u32::from(folder.has_fired());
            for (left, most) in left(&folder).into_iter().zip(&most) {
                assert!(left <= *most, "{point} leaves {left} where {most} are left without it");
            }
            let patience = a_second();
            let begin = Instant::now();
            while !folder.processes().is_empty() {
                assert!(begin.elapsed() < patience, "{point}: {:?}", folder.processes());
            }
        }
    }
    println!("{fired} deaths");
}

#[test]
fn a_master_dies_at_every_step() {
    if role().is_some() {
        return master();
    }
    for label in labels().into_iter().filter(|label| is_of(label, "master")) {
        for passage in PASSAGES {
            let point = format!("{label}@master:{passage}");
            println!("{point}");
            let folder = Folder::new();
            let mut command = again("master");
            command.env(FOLDER, folder.path()).env("TRINE_CRASH_POINT", &point);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let ended = command.stderr(Stdio::null()).spawn().unwrap().wait().unwrap();
            if folder.has_fired() {
                assert_eq!(ended.signal(), Some(libc::SIGKILL), "{point}: {ended}");
            } else {
                assert!(passage > 1, "no process has come to {point}");
                assert!(ended.success(), "{point}: {ended}");
            }
            let (begin, patience) = (Instant::now(), a_second());
            while !folder.processes().is_empty() {
                assert!(begin.elapsed() < patience, "{point}: {:?}", folder.processes());
            }
            assert!(runs(folder.path()).values().all(|count| *count == 1), "{point}");
        }
    }
}
