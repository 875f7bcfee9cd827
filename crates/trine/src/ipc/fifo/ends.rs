//! A FIFO, and opening one of its ends.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::config::Reactor;
use crate::ipc::{PipeReader, PipeWriter};
use crate::reactor::{Backoff, Direction, Source, reactor};
use crate::sys::io::fifo::{self as kernel, End, Opening, Probe};
use crate::sys::io::file;
use crate::sys::io::poll;
use crate::task::budget;
use crate::task::cancel::shield;

/// A pipe that any program can open by its path, as `mkfifo` makes it.
///
/// Its ends are those of a [`pipe()`](crate::ipc::pipe()). Opening one end waits until the other is
/// opened, as `open(2)` does. The wait fails with [`Interrupted`](crate::Interrupted) when the task
/// is cancelled.
///
/// ```
/// use std::io::{Read, Write};
/// use trine::{coroutine, fs, ipc::Fifo};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("trine-doc-fifo-{}", std::process::id()));
/// let fifo = Fifo::create_new(&path, 0o600)?;
///
/// let task = coroutine::spawn(move || -> std::io::Result<_> {
///     let mut text = String::new();
///     fifo.open_reader()?.read_to_string(&mut text)?;
///     Ok(text)
/// });
/// Fifo::open(&path)?.open_writer()?.write_all(b"from any program")?;
///
/// assert_eq!(task.join()??, "from any program");
/// fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
///
/// # Peers that come and go
///
/// Once the last writer has closed its end, a reader reads the end of the stream. Once the last
/// reader has closed its end, writing fails with `BrokenPipe`. Either side may be opened again: a
/// reader at the end reads on when another writer writes, and a writer goes on with another reader.
/// Bytes in the pipe are lost when both sides are closed. A server that must not see the end
/// between two clients keeps a writer open itself ([`try_open_writer`](Self::try_open_writer)).
///
/// # How it waits
///
/// With io_uring, a kernel thread sleeps for each opening that waits. Without it
/// (`TRINE_REACTOR=epoll`, or a container that forbids it), the caller looks again after 1 ms, then
/// less often, up to 16 ms apart. So it may miss a reader that stays for less, and finds a waiting
/// one late. [`try_open_reader`](Self::try_open_reader) never waits.
pub struct Fifo {
    /// The file, opened with `O_PATH`: for neither reading nor writing.
    pub(super) place: File,
    pub(super) path: PathBuf,
}

impl Fifo {
    /// Opens the end for reading, and waits until there is a writer.
    ///
    /// ```
    /// use std::io::Read;
    /// use trine::{ipc::Fifo, thread};
    ///
    /// # let path = std::env::temp_dir().join(format!("trine-doc-end-{}", std::process::id()));
    /// let fifo = Fifo::create_new(&path, 0o600)?;
    /// let same = Fifo::open(&path)?;
    /// # std::fs::remove_file(&path)?;
    /// let writer = thread::spawn(move || same.open_writer());
    /// let mut reader = fifo.open_reader()?; // once the writer has come
    /// drop(writer.join().unwrap()?);
    /// assert_eq!(reader.read(&mut [0])?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `PermissionDenied`, if no descriptor is left, and when the caller is interrupted.
    pub fn open_reader(&self) -> io::Result<PipeReader> {
        self.open_end(End::Reader, None).map(PipeReader::from)
    }

    /// Opens the end for reading, and waits for a writer for at most `timeout`; zero only
    /// looks.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    /// # use trine::ipc::Fifo;
    ///
    /// # let path = std::env::temp_dir().join(format!("trine-doc-timeout-{}", std::process::id()));
    /// let fifo = Fifo::create_new(&path, 0o600)?;
    /// let error = fifo.open_reader_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut`, and as [`open_reader`](Self::open_reader) does.
    pub fn open_reader_timeout(&self, timeout: Duration) -> io::Result<PipeReader> {
        if timeout.is_zero() {
            budget::spend();
            let reader = self.open_now(End::Reader)?;
            return match Probe::new()?.has_writer(reader.as_fd()) {
                true => Ok(PipeReader::from(reader)),
                false => Err(io::ErrorKind::TimedOut.into()),
            };
        }
        let deadline = Instant::now().checked_add(timeout);
        self.open_end(End::Reader, deadline).map(PipeReader::from)
    }

    /// Opens the end for reading at once, with or without a writer. The first read waits for a
    /// writer. Writers find a reader from now on.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use trine::ipc::Fifo;
    ///
    /// # let path = std::env::temp_dir().join(format!("trine-doc-before-{}", std::process::id()));
    /// let fifo = Fifo::create_new(&path, 0o600)?;
    /// # std::fs::remove_file(&path)?;
    /// let mut reader = fifo.try_open_reader()?;
    /// fifo.open_writer()?.write_all(b"!")?;
    /// reader.read_exact(&mut [0])?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `PermissionDenied`, and if no descriptor is left.
    pub fn try_open_reader(&self) -> io::Result<PipeReader> {
        Ok(PipeReader::before_its_writer(self.open_now(End::Reader)?))
    }

    /// Opens the end for writing, and waits until there is a reader.
    ///
    /// ```
    /// use trine::{ipc::Fifo, thread};
    ///
    /// # let path = std::env::temp_dir().join(format!("trine-doc-meet-{}", std::process::id()));
    /// let fifo = Fifo::create_new(&path, 0o600)?;
    /// let same = Fifo::open(&path)?;
    /// # std::fs::remove_file(&path)?;
    /// let reader = thread::spawn(move || same.open_reader());
    /// let writer = fifo.open_writer()?; // once the reader has come
    /// reader.join().unwrap()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`open_reader`](Self::open_reader) does.
    pub fn open_writer(&self) -> io::Result<PipeWriter> {
        self.open_end(End::Writer, None).map(PipeWriter::from)
    }

    /// Opens the end for writing, and waits for a reader for at most `timeout`; zero only
    /// looks.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    /// use trine::ipc::Fifo;
    ///
    /// # let path = std::env::temp_dir().join(format!("trine-doc-late-{}", std::process::id()));
    /// let fifo = Fifo::create_new(&path, 0o600)?;
    /// # std::fs::remove_file(&path)?;
    /// let error = fifo.open_writer_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut`, and as [`open_reader`](Self::open_reader) does.
    pub fn open_writer_timeout(&self, timeout: Duration) -> io::Result<PipeWriter> {
        if timeout.is_zero() {
            budget::spend();
            return match self.open_now(End::Writer) {
                Err(error) if file::has_no_peer(&error) => Err(io::ErrorKind::TimedOut.into()),
                opened => opened.map(PipeWriter::from),
            };
        }
        let deadline = Instant::now().checked_add(timeout);
        self.open_end(End::Writer, deadline).map(PipeWriter::from)
    }

    /// Opens the end for writing if there is a reader.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// # use trine::ipc::Fifo;
    ///
    /// # let path = std::env::temp_dir().join(format!("trine-doc-writer-{}", std::process::id()));
    /// let fifo = Fifo::create_new(&path, 0o600)?;
    /// assert_eq!(fifo.try_open_writer().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// let _reader = fifo.try_open_reader()?;
    /// fifo.try_open_writer()?;
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is no reader, and as [`open_writer`](Self::open_writer)
    /// does.
    pub fn try_open_writer(&self) -> io::Result<PipeWriter> {
        match self.open_now(End::Writer) {
            Err(error) if file::has_no_peer(&error) => {
                let text =
                    format!("no process has the FIFO {} open for reading", self.path.display());
                Err(io::Error::new(io::ErrorKind::WouldBlock, text))
            }
            opened => opened.map(PipeWriter::from),
        }
    }

    fn open_now(&self, end: End) -> io::Result<OwnedFd> {
        kernel::open_now(self.place.as_fd(), end)
    }

    fn open_end(&self, end: End, deadline: Option<Instant>) -> io::Result<OwnedFd> {
        if end == End::Writer {
            match self.open_now(End::Writer) {
                Err(error) if file::has_no_peer(&error) => {}
                done => return done,
            }
        }
        while reactor().kind() == Reactor::IoUring {
            let Ok(opening) = Opening::begin(self.place.as_fd(), end) else { break };
            match wait_for(opening, deadline)? {
                Err(error) if kernel::was_interrupted(&error) => {}
                ended => return ended,
            }
        }
        match end {
            End::Reader => self.look_for_writer(deadline),
            End::Writer => self.look_for_reader(deadline),
        }
    }

    fn look_for_reader(&self, deadline: Option<Instant>) -> io::Result<OwnedFd> {
        let mut backoff = Backoff::slow(deadline);
        loop {
            let paused = backoff.wait();
            match self.open_now(End::Writer) {
                Err(error) if file::has_no_peer(&error) => paused?,
                done => return done,
            }
        }
    }

    fn look_for_writer(&self, deadline: Option<Instant>) -> io::Result<OwnedFd> {
        let reader = self.open_now(End::Reader)?;
        let probe = Probe::new()?;
        let mut backoff = Backoff::slow(deadline);
        let mut paused = Ok(());
        loop {
            // A writer may also have come and gone since.
            if probe.has_writer(reader.as_fd()) || poll::is_hung_up(&reader) {
                return Ok(reader);
            }
            paused?;
            paused = backoff.wait();
        }
    }
}

/// Waits until the kernel has completed the opening, and returns its result.
///
/// # Errors
///
/// Fails with `TimedOut` at `deadline`, and when the caller is interrupted. It has opened nothing
/// then.
fn wait_for(opening: Opening, deadline: Option<Instant>) -> io::Result<io::Result<OwnedFd>> {
    let opening = Source::of_nonblocking(opening);
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let waited = opening.retry(Direction::Read, left, Opening::take);
    waited.or_else(|error| end(&opening).map(Ok).ok_or(error))
}

/// Cancels the opening, shielded from interruption; returns the end that it had opened before.
fn end(opening: &Source<Opening>) -> Option<OwnedFd> {
    /// Pause between two requests to cancel it.
    const PAUSE: Duration = Duration::from_millis(1);
    /// Longer than a cancellation can take.
    const MOST: Duration = Duration::from_secs(10);
    shield(MOST, || {
        loop {
            opening.get().request_cancel();
            match opening.retry(Direction::Read, Some(PAUSE), Opening::take) {
                Ok(ended) => return ended.ok(),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                // The reactor cannot wait for it.
                Err(_) => return opening.get().cancel(),
            }
        }
    })
}

impl fmt::Debug for Fifo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fifo").field("path", &self.path).finish_non_exhaustive()
    }
}
