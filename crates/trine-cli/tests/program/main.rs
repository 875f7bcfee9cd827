//! The program as its user meets it: run, read, and judged by its exit code.

use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

mod bad_input;
mod measure;
mod usage;

/// The program, with nothing to read on its standard input.
fn trine(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trine"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs to the end; a program that hangs is killed and fails the test.
fn run(command: &mut Command) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let (done, is_done) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if is_done.recv_timeout(Duration::from_secs(120)).is_err() {
            // The sender is dropped only after the child was waited for, so the pid is still its.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let mut stderr = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).unwrap();
        text
    });
    let mut stdout = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    let stderr = errors.join().unwrap();
    // Both outputs have ended, and so has the program, or it will soon.
    let status = child.wait().unwrap();
    let _ = done.send(());
    watch.join().unwrap();
    Ran(Output { status, stdout, stderr })
}

/// What a run left.
struct Ran(Output);

impl Ran {
    fn code(&self) -> Option<i32> {
        self.0.status.code()
    }

    fn stdout(&self) -> &str {
        std::str::from_utf8(&self.0.stdout).unwrap()
    }

    fn stderr(&self) -> &str {
        std::str::from_utf8(&self.0.stderr).unwrap()
    }
}
