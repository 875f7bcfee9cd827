//! Calls on files: an attempt that does not sleep, else a way to wait.
//!
//! A file on a disk is always "ready" to `poll`, and yet a call on it may sleep. So the kernel is
//! first asked to do without sleeping, which it can if its caches hold everything. A refused call
//! is made elsewhere:
//!
//! | call | attempt | else |
//! |---|---|---|
//! | open without creating; metadata of a path | `openat2`, `RESOLVE_CACHED` | pool |
//! | read, write on storage, at an offset | `preadv2`, `pwritev2`, `RWF_NOWAIT` | ring or pool |
//! | the same, at the file's own position | the same | pool |
//! | sync | | ring or pool |
//! | read, write on a pipe, a terminal, a device | the same | [`Source`] |
//! | every other call that changes or lists directories | | pool |
//! | seek, close, metadata of an open file | directly: they sleep on some network file systems | |
//!
//! "Pool" is a thread for files (`blocking.rs`, [`Lane::Files`]), "ring" the caller's ring. A
//! [`Source`] waits until the descriptor is ready, and then attempts again. A terminal or a device
//! of which the kernel cannot say whether a call would sleep has one thread for each direction
//! ([`Place`]), which looks again whether it is ready, and makes the call. A file of `/proc` that
//! is not ready is awaited in the same way.
//!
//! (A ring leaves the file's own position unchanged when it has done a part of a call and gone back
//! to the rest: seen with Linux 6.18 at the end of a full disk.)
//!
//! A plain thread makes the ordinary call, which sleeps.
//!
//! # FIFOs
//!
//! Opening a FIFO sleeps until its other end is opened, perhaps forever, so no thread of the pool
//! may do it. A coroutine opens files with `O_NONBLOCK`, which storage ignores. For reading, the
//! open succeeds at once, and the first read waits for the writer. For writing, the open is tried
//! again, after 1 ms up to 16 ms, until there is a reader.

use std::fs::{File, Metadata};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::OnceLock;

use super::backoff::Backoff;
use super::blocking::{self, Lane, Place};
use super::budget;
use super::operation::OwnRing;
use super::registration::Direction;
use super::source::Source;
use crate::sys::io::file::{self, flags};
use crate::sys::io::{Blocking, poll};
use crate::sys::process::descriptors;
use crate::task::park;

/// The executor of a call on a file.
enum Via {
    /// The caller, or a thread of the pool for it.
    Thread(Blocking),
    /// The caller's ring.
    Ring(OwnRing),
}

impl Via {
    fn blocking(self) -> Blocking {
        match self {
            Via::Thread(blocking) => blocking,
            Via::Ring(_) => Blocking::No,
        }
    }
}

/// The way to wait for a call on a file that cannot be done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// In a ring, or on a thread of the pool: the kernel sleeps for it.
    Pool,
    /// Until the descriptor is ready.
    Ready,
    /// Like `Ready`, but an end of file before the first writer is no end.
    Fifo,
    /// Not at all: the program has asked for `WouldBlock`.
    Nowhere,
}

/// An open file.
#[derive(Debug)]
pub(crate) struct Opened {
    source: Source<File>,
    /// Known from the first call that could not be done at once.
    wait: OnceLock<Wait>,
    /// True if this file, not the program, has set `O_NONBLOCK`.
    made_nonblocking: bool,
}

/// Opens `path`.
///
/// # Errors
///
/// The same as for `open(2)`; an interruption of the caller.
pub(crate) fn open(path: &Path, flags: i32, mode: u32) -> io::Result<Opened> {
    if park::is_plain_thread() {
        return Ok(Opened::new(file::open(path, flags, mode)?, false));
    }
    budget::count_call();
    let nonblocking = flags | flags::NONBLOCKING;
    let made_nonblocking = flags != nonblocking;
    let mut backoff = Backoff::slow(None);
    loop {
        let attempt = match file::open_cached(path, nonblocking) {
            Some(attempt) => attempt,
            None if flags & (flags::CREATE | flags::TRUNCATE) != 0 => {
                blocking::run(Lane::Files, || file::open(path, nonblocking, mode))?
            }
            None => query(path, move |path| Ok(file::open(path, nonblocking, mode)))?,
        };
        match attempt {
            Ok(file) => return Ok(Opened::new(file, made_nonblocking)),
            Err(error) if file::has_no_peer(&error) && made_nonblocking && is_fifo(path) => {
                backoff.wait()?;
            }
            // Another process holds a lease, which the kernel revokes within a time of its own.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && made_nonblocking => {
                return Ok(Opened::new(open_leased(path, flags, mode)?, false));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Opens `path` on a thread that may sleep for a minute. A caller that changes nothing by that does
/// not wait for it when it is interrupted.
fn open_leased(path: &Path, flags: i32, mode: u32) -> io::Result<File> {
    if flags & (flags::CREATE | flags::TRUNCATE) != 0 {
        return blocking::run(Lane::Leases, || file::open(path, flags, mode))?;
    }
    let path = path.to_path_buf();
    blocking::detached(Lane::Leases, move || file::open(&path, flags, mode))?
}

/// Returns the metadata of the file that `path` leads to; of a symbolic link itself if `follow` is
/// false.
///
/// # Errors
///
/// The same as for `stat(2)`; an interruption of the caller.
pub(crate) fn metadata(path: &Path, follow: bool) -> io::Result<Metadata> {
    let ask = move |path: &Path| {
        if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) }
    };
    if park::is_plain_thread() {
        return ask(path);
    }
    budget::count_call();
    let name = flags::PATH | if follow { 0 } else { flags::NO_FOLLOW };
    match file::open_cached(path, name) {
        Some(Ok(opened)) => opened.metadata(),
        Some(Err(error)) if !descriptors::is_limit_met(&error) => Err(error),
        _ => query(path, ask),
    }
}

/// Makes a call that may sleep on a thread of the pool; a plain thread makes it itself.
///
/// # Errors
///
/// The error of `call`; an interruption of the caller before it has begun.
pub(crate) fn blocking<T: Send>(call: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    blocking::run(Lane::Files, call)?
}

/// Like [`blocking()`], for calls that change nothing. An interrupted caller leaves at once, even
/// if the call waits for a server that does not answer.
///
/// # Errors
///
/// The error of `call`; an interruption of the caller.
pub(crate) fn query<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if park::is_plain_thread() {
        return call(path);
    }
    let path = path.to_path_buf();
    blocking::detached(Lane::Files, move || call(&path))?
}

fn is_fifo(path: &Path) -> bool {
    metadata(path, true).is_ok_and(|found| found.file_type().is_fifo())
}

impl Opened {
    fn new(file: File, made_nonblocking: bool) -> Opened {
        let source = Source::of_nonblocking(file);
        Opened { source, wait: OnceLock::new(), made_nonblocking }
    }

    /// Takes a file that other code has opened.
    pub(crate) fn of(file: File) -> Opened {
        Opened::new(file, false)
    }

    /// The file, for calls that do not sleep, or are made on a thread of the pool.
    pub(crate) fn get(&self) -> &File {
        self.source.get()
    }

    /// Gives the file back with the flags that its opener asked for.
    pub(crate) fn into_inner(self) -> File {
        if self.made_nonblocking { self.source.into_inner() } else { self.source.release() }
    }

    /// Makes another descriptor of the same open file.
    pub(crate) fn try_clone(&self) -> io::Result<Opened> {
        Ok(Opened::new(self.get().try_clone()?, self.made_nonblocking))
    }

    /// Returns the metadata of the open file; network file systems may ask their server.
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
        let read = self.perform(Direction::Read, offset.is_some(), |via| {
            let file = self.get().as_fd();
            let count = match (via, offset) {
                (Via::Ring(ring), Some(offset)) => ring.read(file, buffers, offset)?,
                (via, _) => file::read(file, buffers, offset, via.blocking())?,
            };
            if count == 0 && !empty { self.check_end() } else { Ok(count) }
        });
        read.inspect(|&count| budget::count_bytes(count))
    }

    /// Appends to `buffer` what is read at `offset`, or at the file's own position, at most its
    /// spare capacity.
    pub(crate) fn read_behind(
        &self,
        buffer: &mut Vec<u8>,
        offset: Option<u64>,
    ) -> io::Result<usize> {
        let read = self.perform(Direction::Read, offset.is_some(), |via| {
            let file = self.get().as_fd();
            let count = match (via, offset) {
                (Via::Ring(ring), Some(offset)) => ring.read_behind(file, buffer, offset)?,
                (via, _) => file::read_behind(file, buffer, offset, via.blocking())?,
            };
            if count == 0 { self.check_end() } else { Ok(count) }
        });
        read.inspect(|&count| budget::count_bytes(count))
    }

    /// Writes at `offset`, or at the file's own position.
    pub(crate) fn write(&self, buffers: &[IoSlice<'_>], offset: Option<u64>) -> io::Result<usize> {
        let written = self.perform(Direction::Write, offset.is_some(), |via| {
            let file = self.get().as_fd();
            if let (Via::Ring(ring), Some(offset)) = (&via, offset) {
                return ring.write(file, buffers, offset);
            }
            let blocking = via.blocking();
            if blocking == Blocking::No || !self.is_known_to_wait_until_ready() {
                return file::write(file, buffers, offset, blocking);
            }
            // A ready pipe takes this many bytes without sleeping.
            let first = buffers.iter().find(|buffer| !buffer.is_empty());
            let first = first.map_or(&[][..], |first| &first[..first.len().min(file::PIPE_BUFFER)]);
            file::write(file, &[IoSlice::new(first)], offset, blocking)
        });
        written.inspect(|&count| budget::count_bytes(count))
    }

    /// Writes the file's cached content to the disk. With `data_only`, writes only what is needed
    /// to read the data.
    pub(crate) fn sync(&self, data_only: bool) -> io::Result<()> {
        match OwnRing::of_caller() {
            Some(ring) => ring.sync(self.get().as_fd(), data_only),
            None => {
                blocking(|| if data_only { self.get().sync_data() } else { self.get().sync_all() })
            }
        }
    }

    /// Attempts `call`, and if it would sleep, waits in the way of such a file. Only a call that is
    /// made `at_offset` may use a ring.
    fn perform<T: Send>(
        &self,
        direction: Direction,
        at_offset: bool,
        mut call: impl FnMut(Via) -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let plain = park::is_plain_thread();
        let attempt = call(Via::Thread(if plain { Blocking::Yes } else { Blocking::No }));
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
        mut call: impl FnMut(Via) -> io::Result<T> + Send,
    ) -> io::Result<T> {
        match self.wait()? {
            Wait::Nowhere if plain || refusal.kind() == io::ErrorKind::WouldBlock => {
                return Err(refusal);
            }
            Wait::Nowhere => return blocking(|| call(Via::Thread(Blocking::Yes))),
            // The true result of a call that might have slept, unless `O_NONBLOCK` has caused it.
            Wait::Pool if plain && !self.is_own_refusal(&refusal) => return Err(refusal),
            // A file of `/proc` or the like. One on a disk is always ready.
            Wait::Pool if !plain && !self.is_ready(direction) => {}
            Wait::Pool if !plain => {
                let called = match OwnRing::of_caller().filter(|_| at_offset) {
                    Some(ring) => call(Via::Ring(ring)),
                    None => blocking(|| call(Via::Thread(Blocking::Yes))),
                };
                match called {
                    Err(error) if self.is_own_refusal(&error) => {}
                    done => return done,
                }
            }
            Wait::Pool | Wait::Ready | Wait::Fifo => {}
        }
        self.source.retry(direction, None, |_| match call(Via::Thread(Blocking::No)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            Err(error) if file::would_sleep(&error) => {
                if !self.is_ready(direction) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                // The others of this program take turns, so the call sleeps only if a reader or
                // writer elsewhere comes first, or there is room for a part. But perhaps forever.
                blocking::run_at(self.place(direction)?, || match self.is_ready(direction) {
                    true => call(Via::Thread(Blocking::Yes)),
                    false => Err(io::ErrorKind::WouldBlock.into()),
                })?
            }
            done => done,
        })
    }

    fn is_ready(&self, direction: Direction) -> bool {
        poll::is_ready(self.get().as_fd(), direction.interest())
    }

    /// Returns the place of calls that may sleep until another program acts. Descriptors without a
    /// file, such as those of inotify, share an inode and so a place.
    fn place(&self, direction: Direction) -> io::Result<Place> {
        let found = self.metadata()?;
        let file = [found.dev(), found.ino(), found.rdev()];
        Ok(Place { file, writes: matches!(direction, Direction::Write) })
    }

    /// Returns true if the error comes from `O_NONBLOCK` set by this file.
    fn is_own_refusal(&self, error: &io::Error) -> bool {
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

    fn is_known_to_wait_until_ready(&self) -> bool {
        matches!(self.wait.get(), Some(Wait::Ready | Wait::Fifo))
    }

    /// Returns the result of a read that found an end: 0, or `WouldBlock` for a FIFO that no writer
    /// has opened yet.
    fn check_end(&self) -> io::Result<usize> {
        let no_writer_yet =
            self.made_nonblocking && self.wait()? == Wait::Fifo && !poll::is_hung_up(self.get());
        if no_writer_yet { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(0) }
    }
}
