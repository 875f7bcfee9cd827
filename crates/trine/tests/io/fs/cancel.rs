//! A cancelled task leaves no descriptor, no thread and no half-done call.

use std::io::Write;
use std::time::{Duration, Instant};

use trine::fs::{self, File, OpenOptions};
use trine::{coroutine, time};

use crate::common;
use crate::common::processes::descriptors;

use super::{TempPath, pattern, until_it_waits};

/// Reads the states of the pool's threads: `S` is sleeping.
fn pool_threads() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let lines =
        threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    let state = |line: String| Some(line.split_once("(trine-offload) ")?.1[..1].to_owned());
    lines.filter_map(state).collect()
}

#[test]
fn cancelled_at_any_moment_nothing_is_left() {
    if common::role().is_none() {
        let mut alone = common::again("alone");
        alone.env("TRINE_CARRIERS", "1");
        common::run(alone);
        return;
    }
    let folder = TempPath::folder("fs");
    std::fs::write(folder.join("from"), pattern(1, 100_000)).unwrap();
    let before = {
        // The carrier gets its reactor, and the pool its first thread.
        let file = folder.join("from");
        coroutine::spawn(move || File::open(file).unwrap().sync_data().unwrap()).join().unwrap();
        coroutine::spawn(|| fs::canonicalize("/").unwrap()).join().unwrap();
        descriptors()
    };
    for round in 0..1000_usize {
        let (from, to) = (folder.join("from"), folder.join(round.to_string()));
        let task = coroutine::spawn(move || -> std::io::Result<()> {
            let mut bytes = fs::read(&from)?;
            bytes.reverse();
            let mut file = File::create(&to)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            fs::copy(&to, &from)?;
            for entry in fs::read_dir("/proc/self/fd")? {
                entry?;
            }
            fs::remove_file(&to)
        });
        for _ in 0..round % 100 * 50 {
            std::hint::spin_loop();
        }
        if round % 3 == 0 {
            until_it_waits(&task);
        }
        task.cancel();
        match task.join() {
            Ok(Err(error)) => assert!(common::interruption(&error).is_some(), "{error}"),
            Ok(Ok(())) => {}
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
    }
    // Calls that were left to a thread of the pool end by themselves.
    while descriptors() != before || pool_threads().iter().any(|state| state != "S") {
        std::thread::yield_now();
    }
    assert!(!pool_threads().is_empty());
    assert_eq!(
        coroutine::spawn(|| fs::canonicalize("/").unwrap()).join().unwrap().as_os_str(),
        "/"
    );
}

#[test]
fn a_loop_over_a_directory_that_passes_over_errors_ends_with_its_task() {
    let folder = TempPath::folder("fs");
    for number in 0..1000 {
        std::fs::write(folder.join(number.to_string()), "").unwrap();
    }
    let path = folder.0.clone();
    let (opened, is_open) = std::sync::mpsc::channel();
    let task = coroutine::spawn(move || {
        let entries = fs::read_dir(path).unwrap();
        opened.send(()).unwrap();
        while !trine::cancelled() {
            coroutine::yield_now();
        }
        entries.flatten().count()
    });
    is_open.recv().unwrap();
    task.cancel();
    // Entries that were read before are still returned.
    let count = task.join().unwrap();
    assert!(0 < count && count < 1000, "{count}");
}

#[test]
fn a_deadline_ends_the_wait_for_a_lock() {
    let folder = TempPath::folder("fs");
    let path = folder.join("file");
    let holder = File::create(&path).unwrap();
    holder.lock().unwrap();
    let task = coroutine::spawn(move || {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let begin = Instant::now();
        let error =
            time::timeout(Duration::from_millis(5), || file.lock()).map(|lock| lock.unwrap_err());
        assert!(begin.elapsed() >= Duration::from_millis(5));
        (error.ok().is_none_or(|error| common::interruption(&error).is_some()), file)
    });
    let (timed_out, file) = task.join().unwrap();
    assert!(timed_out);
    let waiting = coroutine::spawn(move || file.lock());
    until_it_waits(&waiting);
    holder.unlock().unwrap();
    waiting.join().unwrap().unwrap();
}
