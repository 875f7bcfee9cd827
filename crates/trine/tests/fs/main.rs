//! Files and directories, from coroutines, threads and `main`.

mod cancel;
#[path = "../common/mod.rs"]
mod common;
mod contents;
mod errors;
mod names;
mod two_ends;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use trine::{State, Task, coroutine, thread};

/// A directory of its own for each test; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let path = std::env::temp_dir().join(format!("trine-fs-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Calls `f` in each kind of caller that shares this process's memory, one after the other.
fn everywhere(f: impl Fn() + Send + Clone + 'static) {
    f();
    coroutine::spawn(f.clone()).join().unwrap();
    thread::spawn(f.clone()).join().unwrap();
    coroutine::spawn_local(f.clone()).join().unwrap();
    // A thread that has local coroutines beside it.
    let beside = coroutine::spawn_local(|| {});
    f();
    beside.join().unwrap();
}

/// Returns when `task` waits, or has ended.
fn until_it_waits<T>(task: &Task<T>) {
    while task.state() != State::Waiting && !task.is_finished() {
        std::thread::yield_now();
    }
}

/// Bytes that tell which file and place they are of.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| ((n * 31) ^ (n >> 8) ^ (seed * 7)) as u8).collect()
}
