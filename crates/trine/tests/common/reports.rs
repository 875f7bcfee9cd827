//! A socket on which tasks in workers report, so that their progress and end are events in the
//! test.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use super::processes::spin_for_ever;
use super::temporary::TempPath;

pub struct Reports {
    /// The path, in the form that tasks take as their argument.
    pub path: String,
    listener: UnixListener,
    _place: TempPath,
}

impl Reports {
    pub fn open() -> Reports {
        let place = TempPath::new("reports");
        let path = place.0.to_str().unwrap().to_owned();
        Reports { listener: UnixListener::bind(&path).unwrap(), path, _place: place }
    }

    /// Waits for the next task that reports. Returns its process id and the rest of its output.
    pub fn accept(&self) -> (u32, BufReader<UnixStream>) {
        read_report(self.listener.accept().unwrap().0)
    }

    /// Returns the next report, if a task has reported already.
    pub fn try_accept(&self) -> Option<(u32, BufReader<UnixStream>)> {
        self.listener.set_nonblocking(true).unwrap();
        let accepted = self.listener.accept();
        self.listener.set_nonblocking(false).unwrap();
        Some(read_report(accepted.ok()?.0))
    }
}

fn read_report(stream: UnixStream) -> (u32, BufReader<UnixStream>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    (line.trim().parse().unwrap(), stream)
}

/// Reads everything that a task writes after its report, until it ends.
pub fn rest(mut stream: BufReader<UnixStream>) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// Reports from a worker that the task has begun.
pub fn report(path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(path).unwrap();
    writeln!(stream, "{}", std::process::id()).unwrap();
    stream
}

/// A task that ignores its cancellation and waits for nothing.
pub fn ignore_cancellation(path: String) {
    let _stream = report(&path);
    spin_for_ever()
}

/// A task that stays until the test closes its connection. Returns its process id.
pub fn wait_for_release(path: String) -> u32 {
    let mut stream = report(&path);
    let _ = stream.read(&mut [0]);
    std::process::id()
}
