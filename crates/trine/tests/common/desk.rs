//! Where tasks in workers report: what they say, and their end, are events in the test.

// Each file uses its own part.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

pub struct Desk {
    pub path: String,
    listener: UnixListener,
}

impl Desk {
    pub fn open() -> Desk {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = format!("{}/trine-desk-{pid}-{number}", std::env::temp_dir().display());
        let listener = UnixListener::bind(&path).unwrap();
        Desk { path, listener }
    }

    /// Waits for the next task that reports, and gives its process id and its line.
    pub fn hear(&self) -> (u32, BufReader<UnixStream>) {
        let mut stream = BufReader::new(self.listener.accept().unwrap().0);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        (line.trim().parse().unwrap(), stream)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// In a worker: says that the task has begun.
pub fn report(path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(path).unwrap();
    writeln!(stream, "{}", std::process::id()).unwrap();
    stream
}
