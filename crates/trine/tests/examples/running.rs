//! Examples as processes: run to their end, or kept as servers while a test talks to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// More than anything takes here, except for building an example.
const LIMIT: Duration = Duration::from_secs(100);

/// Extends `command` so that it builds an example with the profile of this test and becomes it.
pub(crate) fn cargo(mut command: Command, name: &str, arguments: &[&str]) -> Command {
    command.args(["run", "--quiet", "--offline", "--example", name, "--manifest-path"]);
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    if name == "hyper" {
        command.args(["--features", "hyper"]);
    }
    command.arg("--").args(arguments);
    command
}

/// Runs an example to its end, which must come within ten minutes, building included. Returns its
/// standard output.
pub(crate) fn run(name: &str, arguments: &[&str]) -> String {
    let mut bounded = Command::new("timeout");
    bounded.args(["--kill-after=1", "600", env!("CARGO")]);
    let output = cargo(bounded, name, arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// A running server; drop kills it.
pub(crate) struct Running {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
    /// The address at which it listens.
    address: String,
}

impl Running {
    /// Starts an example that listens; `arguments` come after the address.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Running {
        let arguments = [&["127.0.0.1:0"], arguments].concat();
        let mut command = cargo(Command::new(env!("CARGO")), name, &arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut running = Running { child, output: None, address: String::new() };
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening at ");
        address.unwrap_or_else(|| panic!("{name}: {line}")).clone_into(&mut running.address);
        running.output = Some(output);
        running
    }

    /// Connects to the server. No call on the connection waits forever.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sends it SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Writes to its standard input.
    pub(crate) fn tell(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Closes its standard input, and waits for its successful end. Returns its output after the
    /// address.
    pub(crate) fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let mut output = self.output.take().unwrap();
        let (done, printed) = mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            let _ = done.send(output.read_to_string(&mut text).map(|_| text));
        });
        let printed = printed.recv_timeout(LIMIT).expect("it ends").unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{printed}");
        printed
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
