//! Calls on files: an attempt that does not sleep, else whatever can wait.
//!
//! A file on a disk is always "ready" to `poll`, and yet a call on it may sleep. So the kernel is first asked
//! to do without sleeping, which it can if all is in its caches, and what it refuses goes elsewhere:
//!
//! | what | attempt | else |
//! |---|---|---|
//! | open without creating; what a path leads to | `openat2`, `RESOLVE_CACHED` | a thread of the pool |
//! | read, write on storage, at an offset | `preadv2`, `pwritev2`, `RWF_NOWAIT` | the caller's ring, or a thread of the pool |
//! | the same, at the file's own position | the same | a thread of the pool |
//! | sync | | the caller's ring, or a thread of the pool |
//! | read, write on a pipe, a terminal, a device | the same | [`Source`]: readiness, then attempt again |
//! | all else that changes or lists directories | | a thread of the pool |
//! | seek, close, what an open file is | directly: they sleep on some network file systems | |
//!
//! (A ring leaves the file's own position where it was when it has done a part of a call and gone back to the
//! rest: seen with Linux 6.18 at the end of a full disk.)
//!
//! A plain thread makes the ordinary call, which sleeps.
//!
//! # What has two ends
//!
//! Opening a FIFO sleeps until somebody opens its other end, maybe for ever, so no thread of the pool may do
//! it. From a coroutine, files are opened with `O_NONBLOCK`, which storage ignores. To read, that succeeds at once, and
//! the first read waits for the writer; to write, the open is tried again, after 1 ms up to 16, until there is a
//! reader.

use std::fs::{File, Metadata};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::operation::OwnRing;
use super::{Direction, Source, blocking, budget};
use crate::sys::io::file::{self, flags};
use crate::sys::io::{Blocking, poll};
use crate::sys::process::descriptors;
use crate::task::{Interrupted, park};

/// Who makes a call on a file.
enum By {
    /// The caller, or a thread for it.
    Thread(Blocking),
    /// The caller's ring.
    Ring(OwnRing),
}

impl By {
    fn blocking(self) -> Blocking {
        match self {
            By::Thread(blocking) => blocking,
            By::Ring(_) => Blocking::No,
        }
    }
}

/// Where a call on a file waits that cannot be done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// In a ring, or on a thread of the pool: the kernel sleeps for it.
    Pool,
    /// Until the descriptor is ready.
    Ready,
    /// As `Ready`; an end of the file before any writer came is none.
    Fifo,
    /// Nowhere: the program has asked for `WouldBlock`.
    Nowhere,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Opened {
    source: Source<File>,
    /// Known from the first call on that could not be done at once.
    wait: OnceLock<Wait>,
    /// `O_NONBLOCK` was set by us, not by the program.
    made_nonblocking: bool,
}

/// Opens `path`.
///
/// # Errors
///
/// As `open(2)`; what interrupts the caller.
pub(crate) fn open(path: &Path, flags: i32, mode: u32) -> io::Result<Opened> {
    if park::is_plain_thread() {
        return Ok(Opened::new(file::open(path, flags, mode)?, false));
    }
    let nonblocking = flags | flags::NONBLOCKING;
    let made_nonblocking = flags != nonblocking;
    let mut rests = Rests::new();
    loop {
        let attempt = match file::open_cached(path, nonblocking) {
            Some(attempt) => attempt,
            None if flags & (flags::CREATE | flags::TRUNCATE) != 0 => {
                blocking::run(|| file::open(path, nonblocking, mode))?
            }
            None => asking(path, move |path| Ok(file::open(path, nonblocking, mode)))?,
        };
        match attempt {
            Ok(file) => return Ok(Opened::new(file, made_nonblocking)),
            Err(error) if file::has_no_peer(&error) && made_nonblocking && is_fifo(path) => {
                rests.rest()?;
            }
            // Another process holds a lease, which the kernel takes back within a time of its own.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && made_nonblocking => {
                let file = blocking::run(|| file::open(path, flags, mode))??;
                return Ok(Opened::new(file, false));
            }
            Err(error) => return Err(error),
        }
    }
}

/// What `path` leads to, or is itself.
///
/// # Errors
///
/// As `stat(2)`; what interrupts the caller.
pub(crate) fn metadata(path: &Path, follow: bool) -> io::Result<Metadata> {
    let ask = move |path: &Path| {
        if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) }
    };
    if park::is_plain_thread() {
        return ask(path);
    }
    let name = flags::PATH | if follow { 0 } else { flags::NO_FOLLOW };
    match file::open_cached(path, name) {
        Some(Ok(opened)) => opened.metadata(),
        Some(Err(error)) if !descriptors::is_limit_met(&error) => Err(error),
        _ => asking(path, ask),
    }
}

/// Calls what may sleep on a thread of the pool; a plain thread calls it itself.
///
/// # Errors
///
/// What `call` says; what interrupts the caller before it has begun.
pub(crate) fn blocking<T: Send>(call: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    blocking::run(call)?
}

/// As [`blocking`], for calls that change nothing: an interrupted caller leaves at once, also one that asks a
/// server which does not answer.
///
/// # Errors
///
/// What `call` says; what interrupts the caller.
pub(crate) fn asking<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if park::is_plain_thread() {
        return call(path);
    }
    let path = path.to_path_buf();
    blocking::detached(move || call(&path))?
}

/// Waits between attempts at what the kernel tells nobody of: 1 ms, then longer, up to 16.
#[derive(Debug)]
pub(crate) struct Rests {
    next: Duration,
}

impl Rests {
    pub(crate) fn new() -> Rests {
        Rests { next: Duration::from_millis(1) }
    }

    /// # Errors
    ///
    /// What interrupts the caller.
    pub(crate) fn rest(&mut self) -> Result<(), Interrupted> {
        let end = Instant::now() + self.next;
        self.next = (2 * self.next).min(Duration::from_millis(16));
        park::wait_until(end)
    }
}

fn is_fifo(path: &Path) -> bool {
    metadata(path, true).is_ok_and(|found| found.file_type().is_fifo())
}

impl Opened {
    fn new(file: File, made_nonblocking: bool) -> Opened {
        let source = Source::of_nonblocking(file);
        Opened { source, wait: OnceLock::new(), made_nonblocking }
    }

    /// Takes a file that others have opened.
    pub(crate) fn of(file: File) -> Opened {
        Opened::new(file, false)
    }

    /// For calls that do not sleep, or are made on a thread of the pool.
    pub(crate) fn get(&self) -> &File {
        self.source.get()
    }

    /// Gives the file back, as its opener wanted it.
    pub(crate) fn into_inner(self) -> File {
        if self.made_nonblocking { self.source.into_inner() } else { self.source.release() }
    }

    /// Another descriptor of the same open file.
    pub(crate) fn try_clone(&self) -> io::Result<Opened> {
        Ok(Opened::new(self.get().try_clone()?, self.made_nonblocking))
    }

    /// What is known of the open file; network file systems may ask their server.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.get().metadata()
    }

    /// Reads at `offset`, or at the file's own position.
    pub(crate) fn read(
        &self,
        buffers: &mut [IoSliceMut<'_>],
        offset: Option<u64>,
    ) -> io::Result<usize> {
        let empty = buffers.iter().all(|buffer| buffer.is_empty());
        let read = self.perform(Direction::Read, offset.is_some(), |by| {
            let file = self.get().as_fd();
            let count = match (by, offset) {
                (By::Ring(ring), Some(offset)) => ring.read(file, buffers, offset)?,
                (by, _) => file::read(file, buffers, offset, by.blocking())?,
            };
            if count == 0 && !empty { self.check_end() } else { Ok(count) }
        });
        read.inspect(|&count| budget::count_bytes(count))
    }

    /// Reads at `offset`, or at the file's own position, at most what `buffer` has room for behind what it
    /// holds.
    pub(crate) fn read_behind(
        &self,
        buffer: &mut Vec<u8>,
        offset: Option<u64>,
    ) -> io::Result<usize> {
        let read = self.perform(Direction::Read, offset.is_some(), |by| {
            let file = self.get().as_fd();
            let count = match (by, offset) {
                (By::Ring(ring), Some(offset)) => ring.read_behind(file, buffer, offset)?,
                (by, _) => file::read_behind(file, buffer, offset, by.blocking())?,
            };
            if count == 0 { self.check_end() } else { Ok(count) }
        });
        read.inspect(|&count| budget::count_bytes(count))
    }

    /// Writes at `offset`, or at the file's own position.
    pub(crate) fn write(&self, buffers: &[IoSlice<'_>], offset: Option<u64>) -> io::Result<usize> {
        let written = self.perform(Direction::Write, offset.is_some(), |by| {
            let file = self.get().as_fd();
            if let (By::Ring(ring), Some(offset)) = (&by, offset) {
                return ring.write(file, buffers, offset);
            }
            let blocking = by.blocking();
            if blocking == Blocking::No || !self.is_known_to_wait_ready() {
                return file::write(file, buffers, offset, blocking);
            }
            // What is ready takes so much without sleeping.
            let first = buffers.iter().find(|buffer| !buffer.is_empty());
            let first = first.map_or(&[][..], |first| &first[..first.len().min(file::PIPE_BUFFER)]);
            file::write(file, &[IoSlice::new(first)], offset, blocking)
        });
        written.inspect(|&count| budget::count_bytes(count))
    }

    /// Brings what was written to the disk; only what is needed to read it, if `data_only`.
    pub(crate) fn sync(&self, data_only: bool) -> io::Result<()> {
        match OwnRing::of_caller() {
            Some(ring) => ring.sync(self.get().as_fd(), data_only),
            None => {
                blocking(|| if data_only { self.get().sync_data() } else { self.get().sync_all() })
            }
        }
    }

    /// Attempts `call`, and if it would sleep, waits where such a file is waited for; in a ring only what
    /// is done `at_offset`.
    fn perform<T: Send>(
        &self,
        direction: Direction,
        at_offset: bool,
        mut call: impl FnMut(By) -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let plain = park::is_plain_thread();
        let attempt = call(By::Thread(if plain { Blocking::Yes } else { Blocking::No }));
        match attempt {
            Err(error) if file::would_sleep(&error) => {
                self.wait_and_perform(direction, at_offset, plain, error, call)
            }
            done => done,
        }
    }

    #[cold]
    fn wait_and_perform<T: Send>(
        &self,
        direction: Direction,
        at_offset: bool,
        plain: bool,
        refusal: io::Error,
        mut call: impl FnMut(By) -> io::Result<T> + Send,
    ) -> io::Result<T> {
        match self.wait()? {
            Wait::Nowhere if plain || refusal.kind() == io::ErrorKind::WouldBlock => {
                return Err(refusal);
            }
            Wait::Nowhere => return blocking(|| call(By::Thread(Blocking::Yes))),
            // Said by a call that might have slept: its true answer, unless `O_NONBLOCK` has made it.
            Wait::Pool if plain && !self.is_ours(&refusal) => return Err(refusal),
            Wait::Pool if !plain => {
                let called = match OwnRing::of_caller().filter(|_| at_offset) {
                    Some(ring) => call(By::Ring(ring)),
                    None => blocking(|| call(By::Thread(Blocking::Yes))),
                };
                match called {
                    Err(error) if self.is_ours(&error) => {}
                    done => return done,
                }
            }
            Wait::Pool | Wait::Ready | Wait::Fifo => {}
        }
        let interest = match direction {
            Direction::Read => poll::Interest::Read,
            Direction::Write => poll::Interest::Write,
        };
        self.source.retry(direction, None, |file| match call(By::Thread(Blocking::No)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(error) if file::would_sleep(&error) => {
                if !poll::is_ready(file.as_fd(), interest) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                // Ready, so it sleeps only if somebody else comes first.
                blocking(|| call(By::Thread(Blocking::Yes)))
            }
            done => done,
        })
    }

    /// Whether it is the answer of a file that we have made one that does not block.
    fn is_ours(&self, error: &io::Error) -> bool {
        self.made_nonblocking && error.kind() == io::ErrorKind::WouldBlock
    }

    fn wait(&self) -> io::Result<Wait> {
        if let Some(wait) = self.wait.get() {
            return Ok(*wait);
        }
        let kind = self.metadata()?.file_type();
        let wait = if kind.is_file() || kind.is_dir() || kind.is_block_device() {
            Wait::Pool
        } else if !self.made_nonblocking && file::is_nonblocking(self.get())? {
            Wait::Nowhere
        } else if kind.is_fifo() {
            Wait::Fifo
        } else {
            Wait::Ready
        };
        Ok(*self.wait.get_or_init(|| wait))
    }

    fn is_known_to_wait_ready(&self) -> bool {
        matches!(self.wait.get(), Some(Wait::Ready | Wait::Fifo))
    }

    /// A read has found an end: 0, unless it is that of a FIFO to which no writer has come yet.
    fn check_end(&self) -> io::Result<usize> {
        let no_writer_yet =
            self.made_nonblocking && self.wait()? == Wait::Fifo && !poll::is_hung_up(self.get());
        if no_writer_yet { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(0) }
    }
}
