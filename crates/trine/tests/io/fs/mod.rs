//! Files and directories, from coroutines, threads and `main`.

mod cancel;
mod contents;
mod errors;
mod names;
mod two_ends;

use crate::common::temporary::TempPath;
use crate::common::waiting::until_it_waits;
use trine::{coroutine, thread};

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

/// Makes bytes that differ by file and place.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| ((n * 31) ^ (n >> 8) ^ (seed * 7)) as u8).collect()
}
