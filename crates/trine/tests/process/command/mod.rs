//! Commands: started, written to, read from and waited for, in every place.

mod bad;
mod left;
mod limits;
mod pipes;
mod wait;

use trine::process::Command;
use trine::{coroutine, thread};

use crate::common::places::{KINDS, spawn};

/// Calls `f` on this thread, in a coroutine, on a thread of trine and in a local coroutine.
fn everywhere(f: fn()) {
    f();
    coroutine::spawn(f).join().unwrap();
    thread::spawn(f).join().unwrap();
    coroutine::spawn_local(f).join().unwrap();
}

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}
