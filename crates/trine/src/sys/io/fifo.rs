//! FIFOs: making one, and opening one end when the other end is open.
//!
//! `open(2)` of one end sleeps until the other end is opened, and reports that to no epoll. So
//! [`Opening`] has `io_uring` do it: a ring for one operation, whose descriptor is ready when the
//! operation has ended. It can be cancelled, and then reports whether that was too late.
//!
//! ```text
//!   ring of an opening ──┐
//!   ring of an opening ──┼──► one submitting thread of the kernel ──► a worker for each opening,
//!   ring of an opening ──┘    (IORING_SETUP_SQPOLL, ATTACH_WQ)        asleep in open(2)
//! ```
//!
//! The workers belong to the submitting thread, not to the caller. The caller's own workers may be
//! few, and are for files. The submitting thread sleeps while there is nothing to submit, and lives
//! as long as the process.

use std::cell::RefCell;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use io_uring::{Builder, IoUring, opcode, squeue, types};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, tee};

use crate::sys::lift::{lift_pair, lifted};

/// An end of a FIFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Reader,
    Writer,
}

impl End {
    fn flags(self) -> OFlags {
        match self {
            End::Reader => OFlags::RDONLY,
            End::Writer => OFlags::WRONLY,
        }
    }
}

/// Makes a FIFO at a path where nothing exists yet.
pub(crate) fn create(path: &Path, mode: u32) -> io::Result<()> {
    Ok(mknodat(CWD, path, FileType::Fifo, Mode::from_bits_truncate(mode), 0)?)
}

/// Returns what `place` leads to if it is not a FIFO.
pub(crate) fn other_kind(place: &File) -> io::Result<Option<&'static str>> {
    let kind = place.metadata()?.file_type();
    Ok(match () {
        () if kind.is_fifo() => None,
        () if kind.is_file() => Some("a regular file"),
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_socket() => Some("a socket"),
        () if kind.is_char_device() || kind.is_block_device() => Some("a device"),
        () => Some("something else"),
    })
}

/// Returns the name by which a process opens the file of one of its descriptors again.
fn own_path(place: BorrowedFd<'_>) -> CString {
    CString::new(format!("/proc/self/fd/{}", place.as_raw_fd())).expect("no NUL")
}

/// Opens one end without sleeping; calls on it do not sleep either. A writer needs a reader.
pub(crate) fn open_now(place: BorrowedFd<'_>, end: End) -> io::Result<OwnedFd> {
    let flags = end.flags() | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, own_path(place), flags, Mode::empty())
        .map_err(|error| explain(error.into()))
}

/// Names the true cause of an error: the FIFO is there, as it is open, so a missing path is that of
/// `/proc`.
fn explain(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOENT) => io::Error::new(
            io::ErrorKind::Unsupported,
            "a FIFO is opened through /proc/self/fd, for which /proc has to be mounted in this \
             namespace of processes",
        ),
        _ => error,
    }
}

/// A pipe that shows whether a reading end has a writer, without reading from it.
#[derive(Debug)]
pub(crate) struct Probe {
    /// The end that bytes of the FIFO are copied to.
    out: OwnedFd,
    _in: OwnedFd,
}

impl Probe {
    pub(crate) fn new() -> io::Result<Probe> {
        let (_in, out) = lift_pair(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)?;
        Ok(Probe { out, _in })
    }

    /// Returns true if there is a writer, or something that a writer has left.
    pub(crate) fn has_writer(&self, reader: BorrowedFd<'_>) -> bool {
        // An empty FIFO without a writer is at its end; with a writer, `tee` would block.
        tee(reader, &self.out, 1, SpliceFlags::NONBLOCK) != Ok(0)
    }
}

/// The most openings at a time. Beyond its number of workers the kernel queues openings, which
/// would then wait for unrelated ones.
const MOST: usize = 1000;

/// The ring to which the others are attached, once there is one. A failure is not kept.
static FIRST: Mutex<Option<IoUring>> = Mutex::new(None);
/// The number of present openings.
static OPENINGS: AtomicUsize = AtomicUsize::new(0);

/// A permit for one opening, of which there are [`MOST`].
struct Permit;

impl Permit {
    /// Takes a permit.
    ///
    /// # Errors
    ///
    /// There are too many openings.
    fn take() -> io::Result<Permit> {
        let present = OPENINGS.fetch_add(1, Relaxed);
        // If it is one too many, dropping it returns it.
        let taken = Permit;
        if present < MOST { Ok(taken) } else { Err(io::ErrorKind::QuotaExceeded.into()) }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        OPENINGS.fetch_sub(1, Relaxed);
    }
}

/// Makes a ring without an operation.
///
/// # Errors
///
/// If the kernel refuses it.
fn ring() -> io::Result<IoUring> {
    let build = |builder: &mut Builder| builder.setup_sqpoll(1).build(2);
    let mut known = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
    if known.is_none() {
        let first = lifted(|| build(&mut IoUring::builder()))?;
        let most = u32::try_from(MOST).unwrap_or(u32::MAX);
        first.submitter().register_iowq_max_workers(&mut [most, 0])?;
        *known = Some(first);
    }
    let first = known.as_ref().map_or(-1, AsRawFd::as_raw_fd);
    lifted(|| build(IoUring::builder().setup_attach_wq(first)))
}

/// An `open` that a thread of the kernel performs.
pub(crate) struct Opening {
    ring: RefCell<IoUring>,
    number: RawFd,
    /// The kernel reads the path until the operation has ended.
    _path: CString,
    ended: RefCell<bool>,
    _permit: Permit,
}

/// The tokens of the two operations.
const OPEN: u64 = 1;
const CANCEL: u64 = 2;

impl Opening {
    /// Begins to open one end of the FIFO.
    ///
    /// # Errors
    ///
    /// If no ring can be made.
    pub(crate) fn begin(place: BorrowedFd<'_>, end: End) -> io::Result<Opening> {
        let _permit = Permit::take()?;
        let mut ring = ring()?;
        let path = own_path(place);
        let flags = (end.flags() | OFlags::CLOEXEC).bits().cast_signed();
        let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).flags(flags);
        // Without the flag, the kernel first tries O_NONBLOCK, which fails instead of sleeping.
        let open = open.build().flags(squeue::Flags::ASYNC).user_data(OPEN);
        // SAFETY: the path exists until the operation has ended, see `drop`.
        unsafe { ring.submission().push(&open) }.expect("room for two");
        let opening = Opening {
            number: ring.as_raw_fd(),
            ring: RefCell::new(ring),
            _path: path,
            ended: RefCell::new(true),
            _permit,
        };
        opening.ring.borrow().submit()?;
        opening.ended.replace(false);
        Ok(opening)
    }

    /// Returns the result, once; `WouldBlock` before the operation has ended.
    pub(crate) fn take(&self) -> io::Result<io::Result<OwnedFd>> {
        let mut ring = self.ring.borrow_mut();
        let Some(result) = ring.completion().find(|done| done.user_data() == OPEN) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        self.ended.replace(true);
        Ok(match result.result() {
            error if error < 0 => Err(explain(io::Error::from_raw_os_error(-error))),
            // SAFETY: the kernel has just made the descriptor for this operation.
            number => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        })
    }

    /// Asks the kernel to cancel the operation, unless it has ended; [`take`](Opening::take) then
    /// returns the result. The request may miss an operation that a worker is just starting, so it
    /// is repeated until the operation has ended.
    pub(crate) fn request_cancel(&self) {
        if !*self.ended.borrow() {
            let cancel = opcode::AsyncCancel::new(OPEN).build().user_data(CANCEL);
            // SAFETY: the operation points to nothing. If there is no room, a request is in
            // flight.
            let _ = unsafe { self.ring.borrow_mut().submission().push(&cancel) };
            let _ = self.ring.borrow().submit();
        }
    }

    /// Cancels the operation, unless it has ended. Returns the descriptor if it had opened one. The
    /// thread sleeps until the kernel's worker has noticed.
    pub(crate) fn cancel(&self) -> Option<OwnedFd> {
        if *self.ended.borrow() {
            return None;
        }
        let pause = types::Timespec::from(Duration::from_millis(1));
        let pause = types::SubmitArgs::new().timespec(&pause);
        loop {
            self.request_cancel();
            // The first to complete is the request, or the operation that it cancels.
            let _ = self.ring.borrow().submit_and_wait(1);
            if let Ok(ended) = self.take() {
                return ended.ok();
            }
            let _ = self.ring.borrow().submitter().submit_with_args(1, &pause);
            if let Ok(ended) = self.take() {
                return ended.ok();
            }
        }
    }
}

/// Returns true if the kernel has interrupted an opening for reasons of its own.
pub(crate) fn was_interrupted(error: &io::Error) -> bool {
    /// Ordinary calls never return it, as the kernel restarts them.
    const ERESTARTSYS: i32 = 512;
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | ERESTARTSYS))
}

impl Drop for Opening {
    fn drop(&mut self) {
        drop(self.cancel());
    }
}

impl AsFd for Opening {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor of the ring, which closes it when `self` is dropped.
        unsafe { BorrowedFd::borrow_raw(self.number) }
    }
}
