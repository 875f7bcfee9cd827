//! Operations of a ring, made by the coroutine that waits for them.
//!
//! ```text
//!   begin ──► in flight ──► completed: return
//!                 │ interrupted, or out of time
//!                 └──► cancel pushed ──► both have completed: return
//! ```
//!
//! The operation works on memory that the caller has borrowed. So the call neither returns nor
//! unwinds before the operation's own completion, whatever happens to its task. After a
//! cancellation it also waits for the cancellation's completion, which might otherwise hit a later
//! operation at the same address. If the operation has succeeded nevertheless, that result counts.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::in_flight::InFlight;
use super::local::{self, Local};
use crate::sys::io::uring::{self, Operation};
use crate::task::{cancel, park, wait};

/// The ring of the carrier that the calling coroutine runs on. The value stays on that thread, and
/// does not outlive the call.
#[derive(Clone, Copy)]
pub(super) struct OwnRing {
    local: &'static Local,
}

impl OwnRing {
    /// Returns the caller's ring; `None` if the caller is not a coroutine of a carrier, or the
    /// carrier uses epoll.
    #[inline]
    pub(super) fn of_caller() -> Option<OwnRing> {
        let local = local::current()?;
        (!park::is_plain_thread() && local.ring().is_some()).then_some(OwnRing { local })
    }

    /// Waits until a socket has bytes, at most until `deadline`, and receives them into `buffer`.
    ///
    /// # Errors
    ///
    /// The socket's; `TimedOut` at `deadline`; an interruption of the task.
    pub(super) fn receive(
        self,
        socket: BorrowedFd<'_>,
        buffer: &mut [u8],
        deadline: Option<Instant>,
    ) -> io::Result<usize> {
        let operation = Operation::receive(socket, buffer.as_mut_ptr(), buffer.len());
        // SAFETY: the buffer is lent to this call, and the descriptor too.
        unsafe { self.perform(operation, deadline) }
    }

    /// Reads a file, from `offset` on.
    ///
    /// # Errors
    ///
    /// The file's; an interruption of the task.
    pub(super) fn read(
        self,
        file: BorrowedFd<'_>,
        buffers: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        // SAFETY: the buffers are lent to this call, and the descriptor too.
        unsafe { self.perform(Operation::read(file, buffers, offset), None) }
    }

    /// Appends to `buffer` what a file has from `offset` on, at most its spare capacity.
    ///
    /// # Errors
    ///
    /// The same as for [`read`](Self::read).
    pub(super) fn read_behind(
        self,
        file: BorrowedFd<'_>,
        buffer: &mut Vec<u8>,
        offset: u64,
    ) -> io::Result<usize> {
        let room = buffer.spare_capacity_mut();
        let operation = Operation::read_into(file, room.as_mut_ptr().cast(), room.len(), offset);
        // SAFETY: the buffer is lent to this call, and the descriptor too.
        let count = unsafe { self.perform(operation, None)? };
        let len = buffer.len() + count;
        // SAFETY: the kernel has written the first `count` bytes behind the old length.
        unsafe { buffer.set_len(len) };
        Ok(count)
    }

    /// Writes to a file, from `offset` on.
    ///
    /// # Errors
    ///
    /// The same as for [`read`](Self::read).
    pub(super) fn write(
        self,
        file: BorrowedFd<'_>,
        buffers: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        // SAFETY: the buffers are lent to this call, and the descriptor too.
        unsafe { self.perform(Operation::write(file, buffers, offset), None) }
    }

    /// Writes the cached content of a file to its device. With `data_only`, writes only what is
    /// needed to read the data.
    ///
    /// # Errors
    ///
    /// The same as for [`read`](Self::read).
    pub(super) fn sync(self, file: BorrowedFd<'_>, data_only: bool) -> io::Result<()> {
        // SAFETY: the operation points to nothing; the descriptor is lent to this call.
        unsafe { self.perform(Operation::sync(file, data_only), None) }.map(drop)
    }

    /// Performs `operation`, and waits for it, at most until `deadline`. Returns the value that the
    /// system call would return.
    ///
    /// # Safety
    ///
    /// The memory that the operation points to is valid, and lent to this call until it returns.
    unsafe fn perform(self, operation: Operation, deadline: Option<Instant>) -> io::Result<usize> {
        // A cancelled task begins no operation.
        cancel::checkpoint()?;
        let in_flight = InFlight::new(park::waker());
        // SAFETY: the memory is the operation's until no completion is outstanding. This call waits
        // for that, also when it is interrupted, and nothing in between unwinds. `in_flight` does
        // not move meanwhile.
        unsafe { self.local.push(operation, in_flight.token())? };
        in_flight.expect_completion();
        let mut ended: Option<io::Error> = None;
        while in_flight.is_outstanding() {
            if ended.is_some() {
                park::park(None);
                continue;
            }
            ended = match wait::for_wake(deadline) {
                Err(interrupted) => Some(interrupted.into()),
                Ok(()) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                    Some(io::ErrorKind::TimedOut.into())
                }
                Ok(()) => None,
            };
            if ended.is_some() && in_flight.is_outstanding() {
                let cancellation = Operation::cancel(in_flight.token());
                // SAFETY: it points to nothing; `in_flight` stays for its completion.
                let pushed =
                    unsafe { self.local.push(cancellation, in_flight.cancellation_token()) };
                // If the ring has no room for it, this waits for the operation itself.
                if pushed.is_ok() {
                    in_flight.expect_completion();
                }
            }
        }
        match (usize::try_from(in_flight.result()), ended) {
            (Ok(result), _) => Ok(result),
            (Err(_), ended) => {
                let error = io::Error::from_raw_os_error(-in_flight.result());
                Err(ended.filter(|_| uring::is_cancelled(&error)).unwrap_or(error))
            }
        }
    }
}
