//! Pipes with a name.
//!
//! How the two ends find each other:
//!
//! | | io_uring | else |
//! |---|---|---|
//! | `open_writer` | opened at once if a reader is there; else a thread of the kernel sleeps in `open` | tried again after 1 ms, then later, up to 16 |
//! | `open_reader` | a thread of the kernel sleeps in `open` | opened at once; looks for a writer after 1 ms, then later, up to 16 |
//! | `try_open_reader` | opened at once; the first read waits for a writer | the same |
//!
//! inotify does not do: an `open` that sleeps is told when it returns, so two ends that both waited for news of the
//! other would wait for good. Nor do O_RDWR, which makes a reader that others take for one, and threads of this
//! process, which could be woken only by a signal of the program's.
//!
//! An opening that is interrupted is cancelled, and its own end waited for: what it had opened is kept, and the
//! call succeeds. So no other program sees an end come and go in vain, unless it was there without waiting.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::pauses::Pauses;
use super::{PipeReader, PipeWriter};
use crate::config::Reactor;
use crate::reactor::files::{blocking, query};
use crate::reactor::{Direction, Source, reactor};
use crate::sys::io::fifo::{self as kernel, End, Opening, Probe};
use crate::sys::io::file::{self, flags};
use crate::sys::io::poll;
use crate::task::cancel::shield;
use crate::task::park;

/// A pipe that any program can open by its path, as `mkfifo` makes it.
///
/// Its ends are those of a [`pipe()`](super::pipe()). To open one waits until the other is opened, as
/// `open(2)` does; the wait ends with [`Interrupted`](crate::Interrupted), as an error, when the task is
/// cancelled.
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
/// # Who comes and goes
///
/// A reader reads the end once the last writer has gone, and writing is the error `BrokenPipe` once the last reader
/// has gone. Either may be opened again: a reader at its end reads on when another writer writes, and a writer
/// goes on with another reader. What is in the pipe when both are gone is lost. A server that is to see no end between
/// its clients holds a writer itself ([`try_open_writer`](Self::try_open_writer)).
///
/// # How it waits
///
/// With io_uring, a thread of the kernel sleeps for each opening that waits. Without (`TRINE_REACTOR=epoll`, containers that
/// forbid it), the caller looks again after 1 ms, then later, up to 16 ms: a reader that is there for less
/// may be missed, and one that waits is found late. [`try_open_reader`](Self::try_open_reader) needs neither.
pub struct Fifo {
    /// The file, by a descriptor that neither reads nor writes it.
    place: File,
    path: PathBuf,
}

impl Fifo {
    /// Opens the FIFO at `path`, or makes one there that those may use whom `mode`, less the mask of the
    /// process, allows to.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`create_new`](Self::create_new), but for `AlreadyExists`.
    pub fn create(path: impl AsRef<Path>, mode: u32) -> io::Result<Fifo> {
        match Fifo::create_new(path.as_ref(), mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Fifo::open(path),
            created => created,
        }
    }

    /// Makes a FIFO at `path`, where nothing is yet; as [`create`](Self::create).
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, whatever is there; what else `mkfifo(3)` says; what interrupts the caller.
    pub fn create_new(path: impl AsRef<Path>, mode: u32) -> io::Result<Fifo> {
        let path = path.as_ref();
        blocking(|| kernel::create(path, mode))?;
        Fifo::open(path)
    }

    /// Looks the FIFO at `path` up. From now on this is the one, also if it is renamed or removed.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: something else is there, which is not touched. `NotFound`, and what else `open(2)` says; what
    /// interrupts the caller.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Fifo> {
        let path = path.as_ref();
        let cached =
            if park::is_plain_thread() { None } else { file::open_cached(path, flags::PATH) };
        let place = match cached {
            Some(opened) => opened?,
            None => query(path, |path| file::open(path, flags::PATH, 0))?,
        };
        match kernel::other_kind(&place)? {
            None => Ok(Fifo { place, path: path.to_owned() }),
            Some(other) => {
                let text = format!("{} is {other}, and no FIFO", path.display());
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
        }
    }

    /// Opens the end that is read, waiting until there is a writer.
    ///
    /// # Errors
    ///
    /// `PermissionDenied`; no descriptor; what interrupts the caller.
    pub fn open_reader(&self) -> io::Result<PipeReader> {
        self.open_end(End::Reader, None).map(PipeReader::from)
    }

    /// As [`open_reader`](Self::open_reader), waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// `TimedOut`; else as `open_reader`.
    pub fn open_reader_timeout(&self, timeout: Duration) -> io::Result<PipeReader> {
        let deadline = Instant::now().checked_add(timeout);
        self.open_end(End::Reader, deadline).map(PipeReader::from)
    }

    /// Opens the end that is read at once, whether there is a writer or not; then its first read waits for
    /// one. Writers find a reader from now on.
    ///
    /// # Errors
    ///
    /// `PermissionDenied`; no descriptor.
    pub fn try_open_reader(&self) -> io::Result<PipeReader> {
        Ok(PipeReader::before_its_writer(self.open_now(End::Reader)?))
    }

    /// Opens the end that is written, waiting until there is a reader.
    ///
    /// # Errors
    ///
    /// As [`open_reader`](Self::open_reader).
    pub fn open_writer(&self) -> io::Result<PipeWriter> {
        self.open_end(End::Writer, None).map(PipeWriter::from)
    }

    /// As [`open_writer`](Self::open_writer), waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// `TimedOut`; else as `open_writer`.
    pub fn open_writer_timeout(&self, timeout: Duration) -> io::Result<PipeWriter> {
        let deadline = Instant::now().checked_add(timeout);
        self.open_end(End::Writer, deadline).map(PipeWriter::from)
    }

    /// Opens the end that is written, if there is a reader.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: there is none. Else as `open_writer`.
    pub fn try_open_writer(&self) -> io::Result<PipeWriter> {
        match self.open_now(End::Writer) {
            Err(error) if file::has_no_peer(&error) => {
                let text = format!("nobody has the FIFO {} open to read", self.path.display());
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
        let mut pauses = Pauses::new(deadline);
        loop {
            let paused = pauses.wait();
            match self.open_now(End::Writer) {
                Err(error) if file::has_no_peer(&error) => paused?,
                done => return done,
            }
        }
    }

    fn look_for_writer(&self, deadline: Option<Instant>) -> io::Result<OwnedFd> {
        let reader = self.open_now(End::Reader)?;
        let probe = Probe::new()?;
        let mut pauses = Pauses::new(deadline);
        let mut paused = Ok(());
        loop {
            // It may also have come and gone.
            if probe.has_writer(reader.as_fd()) || poll::is_hung_up(&reader) {
                return Ok(reader);
            }
            paused?;
            paused = pauses.wait();
        }
    }
}

/// What the opening says, once it has ended.
///
/// # Errors
///
/// `TimedOut` at `deadline`; what interrupts the caller. It has opened nothing then.
fn wait_for(opening: Opening, deadline: Option<Instant>) -> io::Result<io::Result<OwnedFd>> {
    let opening = Source::of_nonblocking(opening);
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let waited = opening.retry(Direction::Read, left, Opening::take);
    waited.or_else(|error| end(&opening).map(Ok).ok_or(error))
}

/// Ends it, whatever interrupts the caller: what it had opened before that came to it.
fn end(opening: &Source<Opening>) -> Option<OwnedFd> {
    /// Between two requests.
    const PAUSE: Duration = Duration::from_millis(1);
    /// Beyond any time that it can take.
    const MOST: Duration = Duration::from_secs(10);
    shield(MOST, || {
        loop {
            opening.get().ask_to_end();
            match opening.retry(Direction::Read, Some(PAUSE), Opening::take) {
                Ok(ended) => return ended.ok(),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                // It cannot be waited for in the reactor.
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
