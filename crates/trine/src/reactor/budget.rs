//! Yields to other coroutines. A call that succeeds at once does not wait, so a coroutine that
//! makes only such calls, on a socket that is always full, would keep its carrier to itself.
//!
//! So a successful call yields from time to time: the carrier runs its other coroutines, its timers
//! and its reactor. (tokio's tasks have a budget for the same reason.)

use std::cell::Cell;
use std::time::Instant;

use crate::task::park;

/// The number of calls between two yields. A call takes some 0.5 us, and a yield a tenth of that.
/// The carrier checks its timers and its reactor after 64 yields, so here after half a millisecond.
const CALLS: u32 = 16;

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(CALLS) };
}

/// The number of bytes whose copying counts as a call.
const BYTES: usize = 16 * 1024;

/// Counts a call that has succeeded without a wait. May yield.
#[inline]
pub(super) fn count_call() {
    match LEFT.get() {
        0 => yield_now(),
        left => LEFT.set(left - 1),
    }
}

/// Like [`count_call`], for a call that has moved `bytes`.
#[inline]
pub(super) fn count_bytes(bytes: usize) {
    let calls = u32::try_from(bytes / BYTES).unwrap_or(u32::MAX);
    LEFT.set(LEFT.get().saturating_sub(calls));
    count_call();
}

/// Like [`count_call`], for a future, which yields before its next call.
#[inline]
pub(super) fn count_poll() {
    LEFT.set(LEFT.get().saturating_sub(1));
}

/// Returns true if a future is to yield, as it has used up its calls.
#[inline]
pub(super) fn is_over() -> bool {
    let over = LEFT.get() == 0;
    if over {
        LEFT.set(CALLS);
    }
    over
}

#[cold]
fn yield_now() {
    LEFT.set(CALLS);
    if !park::is_plain_thread() {
        // Ignores an interruption: the call has succeeded.
        park::park(Some(Instant::now()));
    }
}
