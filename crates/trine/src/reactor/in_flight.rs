//! An operation of a ring whose completions are outstanding.
//!
//! All of this is on one carrier: no field needs an atomic.

use std::cell::Cell;
use std::task::Waker;

use crate::task::park;

/// The bit that marks the token of an operation's cancellation; no address of an operation has it.
const CANCELLATION: u64 = 1;

/// One operation, on the stack of the coroutine that waits for it.
#[repr(align(8))]
pub(super) struct InFlight {
    waker: Waker,
    result: Cell<i32>,
    /// The number of completions that are still to come: its own, its cancellation's.
    outstanding: Cell<u8>,
}

impl Drop for InFlight {
    /// Aborts if the kernel still owns the memory of the operation, which no caller lets happen.
    fn drop(&mut self) {
        if self.outstanding.get() > 0 {
            std::process::abort();
        }
    }
}

impl InFlight {
    /// Describes an operation that was not pushed yet, and whose last completion wakes `waker`.
    pub(super) fn new(waker: Waker) -> InFlight {
        InFlight { waker, result: Cell::new(0), outstanding: Cell::new(0) }
    }

    /// The token of the operation, while `self` does not move.
    pub(super) fn token(&self) -> u64 {
        std::ptr::from_ref(self) as u64
    }

    /// The token of the operation's cancellation.
    pub(super) fn cancellation_token(&self) -> u64 {
        self.token() | CANCELLATION
    }

    /// Notes that an operation with one of the tokens was pushed: it will complete once.
    pub(super) fn expect_completion(&self) {
        self.outstanding.update(|count| count + 1);
    }

    /// Returns true while completions are still to come.
    pub(super) fn is_outstanding(&self) -> bool {
        self.outstanding.get() > 0
    }

    /// The result of the operation; an error is a negative number.
    pub(super) fn result(&self) -> i32 {
        self.result.get()
    }
}

/// Notes a completion, and wakes the waiting coroutine at the last one.
///
/// # Safety
///
/// `token` is one of an [`InFlight`] that expects a completion, on this carrier, and the operation
/// has just completed. The `InFlight` does not move until all its completions were noted here.
pub(super) unsafe fn complete(token: u64, result: i32) {
    // SAFETY: the caller's promise.
    let in_flight = unsafe { &*((token & !CANCELLATION) as *const InFlight) };
    if token & CANCELLATION == 0 {
        in_flight.result.set(result);
    }
    in_flight.outstanding.update(|count| count - 1);
    if !in_flight.is_outstanding() {
        park::wake_by_ref(&in_flight.waker);
    }
}
