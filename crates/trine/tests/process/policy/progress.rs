//! The progress that tasks report.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use trine::process::Pool;
use trine::{Kind, coroutine, thread};

use crate::common::processes::die;
use crate::common::reports::{Reports, report, wait_for_release};
use crate::common::temporary::TempPath;
use crate::common::waiting::until;

#[test]
fn progress_is_seen_while_the_task_runs_and_after_its_end() {
    fn go((path, end): (String, bool)) {
        assert_eq!(end, end);
        trine::progress(0.25);
        let mut stream = report(&path);
        let _ = stream.read(&mut [0]);
        trine::progress(0.75);
        if end {
            std::process::exit(3);
        }
    }
    let reports = Reports::open();
    let pool = Pool::new(1);
    for crash in [false, true] {
        let task = pool.spawn((reports.path.clone(), crash), go);
        let (_, stream) = reports.accept();
        let behind = pool.spawn((), |()| trine::progress(1.0));
        assert_eq!((task.progress(), behind.progress()), (Some(0.25), None));
        drop(stream);
        assert_eq!(behind.info().kind, Kind::Process);
        until(|| task.is_finished() && behind.is_finished());
        assert_eq!((task.progress(), behind.progress()), (Some(0.75), Some(1.0)));
        assert_eq!(task.join().is_err(), crash);
    }
    let local = [
        coroutine::spawn(|| trine::progress(f64::INFINITY)),
        thread::spawn(|| trine::progress(f64::INFINITY)),
    ];
    for task in local {
        until(|| task.is_finished());
        assert_eq!(task.progress(), Some(f64::INFINITY));
    }
    trine::progress(1.0);
}

#[test]
fn the_last_progress_of_each_of_many_small_tasks_stays() {
    let pool = Pool::new(2);
    let tasks: Vec<_> = (0..2_000_u32)
        .map(|n| {
            pool.spawn(n, |n| {
                if n % 2 == 0 {
                    trine::progress(n.into())
                }
            })
        })
        .collect();
    for (n, task) in (0..).zip(tasks) {
        until(|| task.is_finished());
        assert_eq!(task.progress(), (n % 2 == 0).then_some(f64::from(n)));
    }
}

#[test]
fn a_task_that_runs_again_has_told_nothing_yet() {
    fn first_tells((marks, path): (PathBuf, String)) {
        if File::create_new(marks.join("told")).is_ok() {
            trine::progress(0.5);
            die();
        }
        wait_for_release(path);
    }
    let (marks, reports) = (TempPath::folder("marks"), Reports::open());
    let pool = Pool::builder().workers(1).retries(1).build();
    let task = pool.spawn((marks.owned(), reports.path.clone()), first_tells);
    let (_, stream) = reports.accept();
    assert_eq!(task.progress(), None);
    drop(stream);
    task.join().unwrap();
}
