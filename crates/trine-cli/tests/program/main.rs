//! The program as its users run it: its output and its exit codes.

use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

mod bad_input;
mod doctor;
mod measure;
mod replay;
mod usage;

/// Makes a command that runs the program with an empty standard input.
fn trine(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trine"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the program to its end. One that hangs is killed and fails the test.
fn run(command: &mut Command) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let (done, is_done) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if is_done.recv_timeout(Duration::from_secs(120)).is_err() {
            // The sender is dropped only after the child was reaped, so the id is still its own.
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
    // Both outputs have ended, so the program has ended or is about to.
    let status = child.wait().unwrap();
    let _ = done.send(());
    watch.join().unwrap();
    Ran(Output { status, stdout, stderr })
}

/// Runs the program to its end, which must be successful.
fn succeed(command: &mut Command) -> Ran {
    let ran = run(command);
    assert_eq!(ran.code(), Some(0), "{}{}", ran.stdout(), ran.stderr());
    ran
}

/// The output and exit code of a run.
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
