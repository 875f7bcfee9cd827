//! Turns for the others: a call that finds what it wants does not wait, and a coroutine that only makes
//! such calls, on a socket that is always full, would keep its carrier for itself.
//!
//! So every so often a successful call lets the carrier's others run, and the carrier look at its timers
//! and its reactor. (tokio's tasks have a budget for the same reason.)

use std::cell::Cell;
use std::time::Instant;

use crate::task::park;

/// Calls between two turns: of some 0.5 us each, where a turn costs a tenth of that. The carrier looks at its
/// timers and reactor after 64 turns, so here after half a millisecond.
const CALLS: u32 = 16;

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(CALLS) };
}

/// Bytes whose copying counts as a call.
const BYTES: usize = 16 * 1024;

/// A call of the caller has succeeded without a wait.
#[inline]
pub(super) fn count_call() {
    match LEFT.get() {
        0 => give_turn(),
        left => LEFT.set(left - 1),
    }
}

/// As [`count_call`], of one that has moved `bytes`.
#[inline]
pub(super) fn count_bytes(bytes: usize) {
    let calls = u32::try_from(bytes / BYTES).unwrap_or(u32::MAX);
    LEFT.set(LEFT.get().saturating_sub(calls));
    count_call();
}

/// As [`count_call`], for a future, which gives its turn before the next call.
#[inline]
pub(super) fn count_poll() {
    LEFT.set(LEFT.get().saturating_sub(1));
}

/// Whether a future is to be polled again later: it has made its calls.
#[inline]
pub(super) fn is_over() -> bool {
    let over = LEFT.get() == 0;
    if over {
        LEFT.set(CALLS);
    }
    over
}

#[cold]
fn give_turn() {
    LEFT.set(CALLS);
    if !park::is_plain_thread() {
        // Not interrupted: the call has succeeded.
        park::park(Some(Instant::now()));
    }
}
