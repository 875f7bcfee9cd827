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
use std::io;
use std::task::Waker;
use std::time::Instant;

use super::local::Local;
use crate::sys::ring::{self, Operation};
use crate::task::{cancel, park};

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

/// Has the ring of `local` do `operation`, and waits for it, at most until `deadline`. The value is what
/// the system call would return.
///
/// # Safety
///
/// The caller is a coroutine of the carrier that `local` belongs to. What the operation points to is
/// valid and the caller's own until this returns.
///
/// # Errors
///
/// The operation's; `TimedOut` at `deadline`; what ends a wait from outside.
pub(super) unsafe fn perform(
    local: &Local,
    operation: Operation,
    deadline: Option<Instant>,
) -> io::Result<i32> {
    // One that need not be begun is not.
    cancel::checkpoint()?;
    let in_flight = InFlight { waker: park::waker(), result: Cell::new(0), due: Cell::new(0) };
    let token = std::ptr::from_ref(&in_flight) as u64;
    // SAFETY: the memory is the operation's until `due` is 0 again, which this call waits for, also
    // when it is interrupted; nothing in between unwinds.
    unsafe { local.push(operation, token)? };
    in_flight.due.set(1);
    let mut ended: Option<io::Error> = None;
    while in_flight.due.get() > 0 {
        if ended.is_some() {
            park::park(None);
            continue;
        }
        ended = match park::wait(deadline) {
            Err(interrupted) => Some(interrupted.into()),
            Ok(()) if deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                Some(io::ErrorKind::TimedOut.into())
            }
            Ok(()) => None,
        };
        if ended.is_some() && in_flight.due.get() > 0 {
            // SAFETY: a cancellation points to nothing; `in_flight` stays for its completion.
            let pushed = unsafe { local.push(Operation::cancel(token), token | CANCELLATION) };
            // Without room for it, the operation is waited for.
            in_flight.due.update(|due| due + u8::from(pushed.is_ok()));
        }
    }
    let result = in_flight.result.get();
    if result >= 0 {
        return Ok(result);
    }
    let error = io::Error::from_raw_os_error(-result);
    match ended {
        Some(why) if ring::is_cancelled(&error) => Err(why),
        _ => Err(error),
    }
}

/// Notes a completion, and wakes who waits for the last one.
///
/// # Safety
///
/// `token` is one that [`perform`] has pushed, on this carrier, and has just completed.
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
