//! The share of a call in the [budget] of its caller's turn.
//!
//! A call that succeeds at once does not wait, so a coroutine that makes only such calls, on a
//! socket that is always full, would keep its carrier to itself.

use crate::task::budget;

/// The cost of a call, so that 16 of them fill a turn. A call takes some 0.5 us, and a yield a
/// tenth of that. The carrier checks its timers and its reactor after 64 yields, so here after half
/// a millisecond.
const CALL: i32 = 8;

/// The number of bytes whose copying counts as a call.
const BYTES: usize = 16 * 1024;

/// Counts a call that has succeeded without a wait. May yield; an interruption is ignored, as the
/// call has succeeded.
#[inline]
pub(super) fn count_call() {
    budget::spend_many(CALL);
}

/// Like [`count_call`], for a call that has moved `bytes`.
#[inline]
pub(super) fn count_bytes(bytes: usize) {
    let calls = i32::try_from(bytes / BYTES).unwrap_or(i32::MAX).saturating_add(1);
    budget::spend_many(calls.saturating_mul(CALL));
}

/// Like [`count_call`], for a future, which yields before its next call.
#[inline]
pub(super) fn count_poll() {
    budget::spend_later(CALL);
}

/// Returns true if a future is to yield, as it has used up its turn.
#[inline]
pub(super) fn is_over() -> bool {
    budget::is_used_up()
}
