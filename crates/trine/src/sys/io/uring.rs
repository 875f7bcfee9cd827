//! A pair of queues shared with the kernel (`io_uring`): operations go in, completions come out.
//!
//! ```text
//!   push ──► submission queue ──► enter ──► the kernel ──► completion queue ──► take
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::poll::time_left;
use crate::sys::lift::lifted;

/// The room for operations between two system calls; a full queue causes a system call.
const ENTRIES: u32 = 256;
/// The room for completions between two system calls; the kernel keeps those beyond it.
const COMPLETIONS: u32 = 4096;

/// The sleep of a thread whose operations the kernel refuses for want of memory.
const REFUSED: Duration = Duration::from_millis(1);

/// The two queues of one thread.
pub(crate) struct Ring {
    queues: IoUring,
}

/// An operation for the kernel.
pub(crate) struct Operation(squeue::Entry);

/// The result of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    /// The number that the operation was pushed with.
    pub(crate) token: u64,
    /// The result of the corresponding system call: an error is a negative number.
    pub(crate) result: i32,
    /// True if the same operation will complete once more.
    pub(crate) more: bool,
}

impl Operation {
    /// Completes each time that something changes at `descriptor`.
    pub(crate) fn changes(descriptor: BorrowedFd<'_>) -> Operation {
        let flags = libc::POLLIN.unsigned_abs().into();
        let poll = opcode::PollAdd::new(types::Fd(descriptor.as_raw_fd()), flags);
        Operation(poll.multi(true).build())
    }

    /// Receives at most `len` bytes from a socket into `buffer`, once there are some; waits first.
    pub(crate) fn receive(descriptor: BorrowedFd<'_>, buffer: *mut u8, len: usize) -> Operation {
        /// `IORING_RECVSEND_POLL_FIRST`
        const WAIT_FIRST: u16 = 1;
        let len = byte_count(len);
        let receive = opcode::Recv::new(types::Fd(descriptor.as_raw_fd()), buffer, len);
        Operation(receive.ioprio(WAIT_FIRST).build())
    }

    /// Reads a file, from `offset` on.
    pub(crate) fn read(
        descriptor: BorrowedFd<'_>,
        buffers: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> Operation {
        let (vectors, count) = (buffers.as_mut_ptr().cast(), vector_count(buffers.len()));
        let read = opcode::Readv::new(types::Fd(descriptor.as_raw_fd()), vectors, count);
        Operation(read.offset(offset).build())
    }

    /// Reads at most `len` bytes of a file, from `offset` on, into `buffer`.
    pub(crate) fn read_into(
        descriptor: BorrowedFd<'_>,
        buffer: *mut u8,
        len: usize,
        offset: u64,
    ) -> Operation {
        let read = opcode::Read::new(types::Fd(descriptor.as_raw_fd()), buffer, byte_count(len));
        Operation(read.offset(offset).build())
    }

    /// Writes to a file, from `offset` on.
    pub(crate) fn write(
        descriptor: BorrowedFd<'_>,
        buffers: &[IoSlice<'_>],
        offset: u64,
    ) -> Operation {
        let (vectors, count) = (buffers.as_ptr().cast(), vector_count(buffers.len()));
        let write = opcode::Writev::new(types::Fd(descriptor.as_raw_fd()), vectors, count);
        Operation(write.offset(offset).build())
    }

    /// Writes the cached content of a file to its device. With `data_only`, writes only what is
    /// necessary to read the data.
    pub(crate) fn sync(descriptor: BorrowedFd<'_>, data_only: bool) -> Operation {
        let flags =
            if data_only { types::FsyncFlags::DATASYNC } else { types::FsyncFlags::empty() };
        let sync = opcode::Fsync::new(types::Fd(descriptor.as_raw_fd()));
        Operation(sync.flags(flags).build())
    }

    /// Cancels the operation that was pushed with `token`, if it has not ended. Either way that
    /// operation completes by itself.
    pub(crate) fn cancel(token: u64) -> Operation {
        Operation(opcode::AsyncCancel::new(token).build())
    }
}

/// Limits a length to what one call moves: whole pages below 2 GiB.
fn byte_count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX).min(0x7fff_f000)
}

/// Limits a number of vectors to what the kernel takes in one call (`IOV_MAX`).
fn vector_count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX).min(1024)
}

impl Ring {
    /// Makes the queues; only the calling thread may use them.
    ///
    /// # Errors
    ///
    /// If the kernel has no `io_uring`, is older than 6.1, or refuses it to this program.
    pub(crate) fn new() -> io::Result<Ring> {
        let build = || {
            IoUring::builder()
                .setup_single_issuer()
                // Completions are made when the thread asks for them, not whenever it enters the
                // kernel.
                .setup_defer_taskrun()
                .setup_taskrun_flag()
                .setup_submit_all()
                .setup_cqsize(COMPLETIONS)
                .build(ENTRIES)
        };
        let queues = lifted(build).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => io::Error::other("the kernel is older than Linux 6.1"),
            _ => error,
        })?;
        if !queues.params().is_feature_nodrop() || !queues.params().is_feature_ext_arg() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let mut ring = Ring { queues };
        // A sandbox may allow making the ring and refuse using it.
        // SAFETY: the operation points to nothing.
        unsafe { ring.push(Operation(opcode::Nop::new().build()), 0)? };
        ring.queues.submit_and_wait(1)?;
        ring.take().ok_or(io::ErrorKind::Unsupported)?;
        Ok(ring)
    }

    /// Queues `operation` for the next [`enter`](Ring::enter); it completes with `token`.
    ///
    /// # Safety
    ///
    /// The memory that the operation points to belongs to the kernel until the last completion of
    /// the operation: it exists, is large enough, and no other code touches it.
    ///
    /// # Errors
    ///
    /// If the queue is full and the kernel takes nothing out of it.
    pub(crate) unsafe fn push(&mut self, operation: Operation, token: u64) -> io::Result<()> {
        let entry = operation.0.user_data(token);
        // SAFETY: the caller's promise.
        while unsafe { self.queues.submission().push(&entry) }.is_err() {
            // The kernel returns EBUSY or EAGAIN while it has no memory for more.
            self.queues.submit()?;
        }
        Ok(())
    }

    /// Returns true if the kernel has operations to take or completions to deliver.
    #[inline]
    pub(crate) fn is_busy(&mut self) -> bool {
        let submission = self.queues.submission();
        let asks = !submission.is_empty() || submission.taskrun() || submission.cq_overflow();
        drop(submission);
        asks || !self.queues.completion().is_empty()
    }

    /// Submits what was pushed, and lets the kernel complete what it can, without sleeping.
    pub(crate) fn enter(&mut self) {
        // An error leaves everything in the queue for the next time.
        let _ = self.queues.submit();
    }

    /// Like [`enter`](Ring::enter), and sleeps until something has completed or `deadline` has
    /// come.
    pub(crate) fn sleep(&mut self, deadline: Option<Instant>) {
        let submitter = self.queues.submitter();
        let slept = match deadline {
            None => submitter.submit_and_wait(1),
            Some(deadline) => {
                let left = types::Timespec::from(time_left(deadline));
                submitter.submit_with_args(1, &types::SubmitArgs::new().timespec(&left))
            }
        };
        // Without memory for what was pushed (EAGAIN, EBUSY, ENOMEM) the call has not slept, and
        // the caller would repeat it at once.
        if let Err(error) = slept
            && !matches!(error.raw_os_error(), Some(libc::EINTR | libc::ETIME))
        {
            thread::sleep(REFUSED);
        }
    }

    /// Takes the next completion.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Completion> {
        let entry = self.queues.completion().next()?;
        let (token, result) = (entry.user_data(), entry.result());
        Some(Completion { token, result, more: cqueue::more(entry.flags()) })
    }
}

/// Returns true if the error is that of an operation cancelled before it had any effect: `EINTR` if
/// a thread of the kernel was performing it.
pub(crate) fn is_cancelled(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECANCELED | libc::EINTR))
}
