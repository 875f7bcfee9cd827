//! Commands: started, written to, read from and waited for, in every place.

mod bad;
mod left;
mod limits;
mod pipes;
mod wait;

use trine::process::Command;
use trine::{Kind, Task, coroutine, thread};

/// Calls `f` on this thread, in a coroutine, on a thread of trine and in a local coroutine.
fn everywhere(f: fn()) {
    f();
    coroutine::spawn(f).join().unwrap();
    thread::spawn(f).join().unwrap();
    coroutine::spawn_local(f).join().unwrap();
}

/// The kinds that share memory.
const KINDS: [Kind; 2] = [Kind::Coroutine, Kind::Thread];

/// Spawns a task that shares the memory of this process.
fn spawn<T: Send + 'static>(kind: Kind, f: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    match kind {
        Kind::Coroutine => coroutine::spawn(f),
        _ => thread::spawn(f),
    }
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}
