//! The captured output of workers: its end is kept, for the error of the task that printed it.
//!
//! ```text
//!   worker, and its children               master
//!   ────────────────────────               ──────
//!   1 ──────── pipe ──────────────►  thread `trine-output`: reads, keeps the last 8 KiB
//!   2 ──────── pipe ──────────────►          │
//!                                    at a reply or a death: reads the rest, takes the end
//! ```
//!
//! Pipes, not files in memory: a task that prints forever waits when its pipe is full, and takes no
//! more memory than that.
//!
//! A task has written all of its output before it replies or dies, and the next task has not
//! begun: a worker with captured output is given no task ahead. The items of one task of a map do
//! follow each other; their output is not kept apart. Bytes that a left-over process prints later
//! count as the next task's.
//!
//! A thread of its own reads the pipes, so that a task which prints much does not delay the
//! replies of others. A stream's lock is held for one read that does not wait.

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::sys::io::poll::Poll;
use crate::sys::lift::lift_pair;
use crate::sys::limits;
use crate::sys::process::descriptors;
use crate::sys::signal::mask;
use crate::task::Printed;

/// The bytes that are kept of each stream.
const KEPT: usize = 8 * 1024;

/// The most bytes that are read at a reply: all that a pipe holds, unless root has enlarged it.
const MOST_TAKEN: usize = 1 << 20;

/// The master's ends of one worker's output.
#[derive(Debug)]
pub(in crate::process) struct Capture {
    streams: [(u64, Arc<Stream>); 2],
}

#[derive(Debug)]
struct Stream {
    pipe: PipeReader,
    tail: Mutex<Tail>,
}

impl Capture {
    /// Makes the pipes for a worker: the master's ends, and the worker's standard output and error.
    ///
    /// # Errors
    ///
    /// Names the refused resource and the remedy.
    pub(super) fn new() -> Result<(Capture, [PipeWriter; 2]), String> {
        let explain = |error| limits::explain_missing("pipe for the output of a worker", &error);
        let reader = reader()?;
        let (out, stdout) = reader.open().map_err(explain)?;
        let (err, stderr) = reader.open().map_err(|error| {
            reader.close(&out);
            explain(error)
        })?;
        Ok((Capture { streams: [out, err] }, [stdout, stderr]))
    }

    /// Takes the end of the output since the last call; both streams are empty then.
    pub(in crate::process) fn take(&self) -> Printed {
        let [stdout, stderr] = &self.streams;
        Printed { stdout: stdout.1.take(), stderr: stderr.1.take() }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(reader) = READER.get() {
            self.streams.iter().for_each(|stream| reader.close(stream));
        }
    }
}

impl Stream {
    /// Reads as much as `scratch` holds, without waiting. Returns true if the stream has ended.
    fn read(&self, scratch: &mut [u8]) -> bool {
        let mut tail = self.lock();
        match (&self.pipe).read(scratch) {
            Ok(count) => {
                tail.push(&scratch[..count]);
                count == 0
            }
            Err(_) => false,
        }
    }

    fn take(&self) -> Vec<u8> {
        self.take_of(MOST_TAKEN)
    }

    /// Takes the end of what is there, of which it reads at most `most` bytes.
    fn take_of(&self, most: usize) -> Vec<u8> {
        let mut tail = self.lock();
        // No more than is there now: a left-over process may print forever. A task of root may have
        // made the pipe larger than any other task can.
        let mut left = descriptors::readable_bytes(self.pipe.as_fd()).min(most);
        let mut scratch = [0; 4096];
        while left > 0 {
            let most = left.min(scratch.len());
            match (&self.pipe).read(&mut scratch[..most]) {
                Ok(count @ 1..) => {
                    tail.push(&scratch[..count]);
                    left -= count;
                }
                Ok(_) | Err(_) => break,
            }
        }
        tail.take()
    }

    /// Locks. Nothing under this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// The last bytes of a stream.
#[derive(Debug, Default)]
struct Tail {
    /// At most twice the bytes that are kept, so that they are rarely moved.
    bytes: Vec<u8>,
    /// True if earlier bytes were dropped.
    is_cut: bool,
}

impl Tail {
    fn push(&mut self, new: &[u8]) {
        let skipped = new.len().saturating_sub(KEPT);
        if self.bytes.len() + new.len() - skipped > 2 * KEPT {
            self.shorten(KEPT);
        }
        self.bytes.extend_from_slice(&new[skipped..]);
        self.is_cut |= skipped > 0;
        if skipped > 0 {
            self.shorten(KEPT);
        }
    }

    fn shorten(&mut self, most: usize) {
        let skipped = self.bytes.len().saturating_sub(most);
        self.bytes.drain(..skipped);
        self.is_cut |= skipped > 0;
    }

    /// Takes the last bytes. If earlier ones were dropped, begins at the beginning of a line, if
    /// there is one.
    fn take(&mut self) -> Vec<u8> {
        self.shorten(KEPT);
        let Tail { mut bytes, is_cut } = std::mem::take(self);
        if is_cut && let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            bytes.drain(..=end);
        }
        bytes
    }
}

/// The part of the reading thread that other threads see.
struct Reader {
    poll: Poll,
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    open: HashMap<u64, Arc<Stream>>,
    next: u64,
}

static READER: OnceLock<Arc<Reader>> = OnceLock::new();

/// Returns the reader, and starts it at the first call. Called by the service thread only.
///
/// # Errors
///
/// Names the refused resource and the remedy.
fn reader() -> Result<&'static Arc<Reader>, String> {
    if let Some(reader) = READER.get() {
        return Ok(reader);
    }
    let poll = Poll::new()
        .map_err(|error| limits::explain_missing("reader for the output of workers", &error))?;
    let reader = Arc::new(Reader { poll, streams: Mutex::default() });
    let serving = Arc::clone(&reader);
    let signals = mask::block_signals();
    let thread =
        std::thread::Builder::new().name("trine-output".into()).spawn(move || serving.serve());
    drop(signals);
    thread.map_err(|error| limits::explain_refused_task("thread", &error))?;
    Ok(READER.get_or_init(|| reader))
}

impl Reader {
    fn open(&self) -> io::Result<((u64, Arc<Stream>), PipeWriter)> {
        let (pipe, writer) = io::pipe()?;
        let (pipe, writer) = lift_pair((pipe.into(), writer.into()))?;
        let (pipe, writer) = (PipeReader::from(pipe), PipeWriter::from(writer));
        descriptors::set_blocking(pipe.as_fd(), false)?;
        let stream = Arc::new(Stream { pipe, tail: Mutex::default() });
        let mut streams = self.lock();
        streams.next += 1;
        let number = streams.next;
        streams.open.insert(number, Arc::clone(&stream));
        drop(streams);
        let stream = (number, stream);
        if let Err(error) = self.poll.add(&*stream.1, number) {
            self.close(&stream);
            return Err(error);
        }
        Ok((stream, writer))
    }

    fn close(&self, (number, stream): &(u64, Arc<Stream>)) {
        self.poll.remove(&**stream);
        self.lock().open.remove(number);
    }

    fn serve(&self) {
        let (mut happened, mut scratch) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            self.poll.wait(&mut happened, None);
            for happened in &happened {
                let stream = self.lock().open.get(&happened.token).cloned();
                if let Some(stream) = stream
                    && stream.read(&mut scratch)
                {
                    // No process has it open for writing any more; the bytes read so far are kept.
                    self.poll.remove(&*stream);
                }
            }
        }
    }

    /// Locks. Nothing under this lock can panic halfway through a change.
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_end_is_kept_from_the_beginning_of_a_line() {
        let mut tail = Tail::default();
        assert_eq!(tail.take(), b"");
        tail.push(b"one\ntwo");
        assert_eq!(tail.take(), b"one\ntwo");
        let text: Vec<u8> = (0..10_000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        for step in [1, 7, 100, KEPT - 1, KEPT, KEPT + 1, 3 * KEPT, text.len()] {
            text.chunks(step).for_each(|part| {
                tail.push(part);
                assert!(tail.bytes.len() <= 2 * KEPT);
            });
            let taken = tail.take();
            assert!(text.ends_with(&taken) && taken.starts_with(b"line "), "{step}");
            assert!((KEPT - 12..=KEPT).contains(&taken.len()), "{}", taken.len());
        }
        // A part of a line is better than nothing.
        tail.push(&[b'x'; 3 * KEPT]);
        assert_eq!(tail.take(), [b'x'; KEPT]);
        // Nothing was dropped.
        tail.push(&[b'y'; KEPT]);
        assert_eq!(tail.take(), [b'y'; KEPT]);
    }

    #[test]
    fn an_enlarged_pipe_is_not_read_at_once() {
        let (pipe, mut writer) = io::pipe().unwrap();
        writer.write_all(&[b'x'; 4 * KEPT]).unwrap();
        let stream = Stream { pipe, tail: Mutex::default() };
        assert_eq!(stream.take_of(3 * KEPT).len(), KEPT);
        assert_eq!(descriptors::readable_bytes(stream.pipe.as_fd()), KEPT);
    }

    #[test]
    fn what_was_written_before_a_take_is_in_it_and_what_comes_later_in_the_next() {
        let (capture, [mut stdout, mut stderr]) = Capture::new().unwrap();
        for n in 0..1000 {
            write!(stdout, "out {n}").unwrap();
            write!(stderr, "err {n}").unwrap();
            let printed = capture.take();
            assert_eq!(printed.stdout, format!("out {n}").into_bytes());
            assert_eq!(printed.stderr, format!("err {n}").into_bytes());
        }
        assert_eq!(capture.take(), Printed::default());
        // More than a pipe holds: the reader makes room.
        stdout.write_all(&[b'z'; 1 << 20]).unwrap();
        drop((stdout, stderr));
        let printed = capture.take();
        assert_eq!((printed.stdout.len(), printed.stderr.len()), (KEPT, 0));
        assert_eq!(capture.take(), Printed::default());
    }
}
