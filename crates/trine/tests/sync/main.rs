//! Locks and signals between coroutines, threads and `main`.

mod barrier;
mod cancel;
mod condvar;
mod event;
mod mutex;
mod rwlock;
mod semaphore;

use std::time::{Duration, Instant};

use trine::{Kind, State, Task, coroutine, thread};

/// Longer than any test runs, so that a wait with it ends for another reason.
const LONG: Duration = Duration::from_secs(600);
/// A wait that is to time out.
const SHORT: Duration = Duration::from_millis(2);
/// The kinds that share memory.
const KINDS: [Kind; 2] = [Kind::Coroutine, Kind::Thread];

/// Spawns a task that shares the memory of this process.
fn spawn<T: Send + 'static>(kind: Kind, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    match kind {
        Kind::Coroutine => coroutine::spawn(f),
        _ => thread::spawn(f),
    }
}

/// A coroutine or a thread, in turn.
fn kind_of(n: usize) -> Kind {
    KINDS[n % KINDS.len()]
}

/// Returns when `task` waits, or has ended. A coroutine then does so in a call of trine; a thread may still be on
/// its way there, and wait in the kernel.
fn until_it_waits<T>(task: &Task<T>) {
    until(|| task.state() == State::Waiting || task.is_finished());
}

/// Returns when `done` says so.
fn until(done: impl Fn() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < LONG, "it never came");
        std::thread::yield_now();
        coroutine::yield_now();
    }
}
