//! One operation of a ring, and the coroutine that waits for it.
//!
//! ```text
//!   begin ──► in flight ──► completed: return
//!                 │ interrupted, or out of time
//!                 └──► cancel pushed ──► both have completed: return
//! ```
//!
//! The operation works on memory that the caller has borrowed. So the call neither returns nor unwinds
//! before the operation's own completion, whatever happens to its task; and if it was cancelled, not
//! before the cancellation's completion either, which else might hit a later operation at the same
//! address. If the operation has succeeded after all, that counts.
//!
//! All of this is on one carrier: no field needs an atomic.

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::task::Waker;
use std::time::Instant;

use super::local::{self, Local};
use crate::sys::io::uring::{self, Operation};
use crate::task::{cancel, park, wait};

/// In the token of an operation's cancellation; an address has no such bit.
const CANCELLATION: u64 = 1;

/// One operation, on the stack of the coroutine that waits for it.
#[repr(align(8))]
struct InFlight {
    waker: Waker,
    result: Cell<i32>,
    /// Completions that are still to come: its own, its cancellation's.
    due: Cell<u8>,
}

impl Drop for InFlight {
    /// Not reached while the kernel owns what the operation points to.
    fn drop(&mut self) {
        if self.due.get() > 0 {
            std::process::abort();
        }
    }
}

/// The ring of the caller, who is a coroutine of the carrier that it belongs to: on no other thread, and
/// for no longer than the caller runs.
#[derive(Clone, Copy)]
pub(super) struct OwnRing {
    local: &'static Local,
}

impl OwnRing {
    /// `None` if the caller is no coroutine of a carrier, or epoll serves.
    #[inline]
    pub(super) fn of_caller() -> Option<OwnRing> {
        let local = local::current()?;
        (!park::is_plain_thread() && local.ring().is_some()).then_some(OwnRing { local })
    }

    /// Waits until a socket has something, at most until `deadline`, and receives it into `buffer`.
    ///
    /// # Errors
    ///
    /// The socket's; `TimedOut` at `deadline`; what ends a wait from outside.
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
    /// The file's; what ends a wait from outside.
    pub(super) fn read(
        self,
        file: BorrowedFd<'_>,
        buffers: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        // SAFETY: the buffers are lent to this call, and the descriptor too.
        unsafe { self.perform(Operation::read(file, buffers, offset), None) }
    }

    /// Reads a file, from `offset` on, at most what `buffer` has room for behind what it holds.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
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
    /// As [`read`](Self::read).
    pub(super) fn write(
        self,
        file: BorrowedFd<'_>,
        buffers: &[IoSlice<'_>],
        offset: u64,
    ) -> io::Result<usize> {
        // SAFETY: the buffers are lent to this call, and the descriptor too.
        unsafe { self.perform(Operation::write(file, buffers, offset), None) }
    }

    /// Brings what was written to a file to its device; only what is needed to read it, if `data_only`.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub(super) fn sync(self, file: BorrowedFd<'_>, data_only: bool) -> io::Result<()> {
        // SAFETY: the operation points to nothing; the descriptor is lent to this call.
        unsafe { self.perform(Operation::sync(file, data_only), None) }.map(drop)
    }

    /// Does `operation`, and waits for it, at most until `deadline`. The value is what the system call would
    /// return.
    ///
    /// # Safety
    ///
    /// What the operation points to is valid and the caller's own until this returns.
    unsafe fn perform(self, operation: Operation, deadline: Option<Instant>) -> io::Result<usize> {
        // One that need not be begun is not.
        cancel::checkpoint()?;
        let in_flight = InFlight { waker: park::waker(), result: Cell::new(0), due: Cell::new(0) };
        let token = std::ptr::from_ref(&in_flight) as u64;
        // SAFETY: the memory is the operation's until `due` is 0 again, which this call waits for, also
        // when it is interrupted; nothing in between unwinds.
        unsafe { self.local.push(operation, token)? };
        in_flight.due.set(1);
        let mut ended: Option<io::Error> = None;
        while in_flight.due.get() > 0 {
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
            if ended.is_some() && in_flight.due.get() > 0 {
                let cancellation = Operation::cancel(token);
                // SAFETY: it points to nothing; `in_flight` stays for its completion.
                let pushed = unsafe { self.local.push(cancellation, token | CANCELLATION) };
                // Without room for it, the operation is waited for.
                in_flight.due.update(|due| due + u8::from(pushed.is_ok()));
            }
        }
        match (usize::try_from(in_flight.result.get()), ended) {
            (Ok(result), _) => Ok(result),
            (Err(_), ended) => {
                let error = io::Error::from_raw_os_error(-in_flight.result.get());
                Err(ended.filter(|_| uring::is_cancelled(&error)).unwrap_or(error))
            }
        }
    }
}

/// Notes a completion, and wakes who waits for the last one.
///
/// # Safety
///
/// `token` is one that [`OwnRing::perform`] has pushed, on this carrier, and has just completed.
pub(super) unsafe fn complete(token: u64, result: i32) {
    // SAFETY: `perform` keeps its `InFlight` in place until all its completions were noted here, on the
    // thread it runs on.
    let in_flight = unsafe { &*((token & !CANCELLATION) as *const InFlight) };
    if token & CANCELLATION == 0 {
        in_flight.result.set(result);
    }
    in_flight.due.update(|due| due - 1);
    if in_flight.due.get() == 0 {
        in_flight.waker.wake_by_ref();
    }
}
