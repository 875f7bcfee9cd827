//! The budget of a turn. An operation that can go on at once does not wait, so a coroutine that
//! makes only such operations would keep its carrier to itself: a loop around `try_recv`, say, or a
//! sender to a channel without a bound.
//!
//! So each of them spends a part of its turn's budget, and the one that finds it used up first lets
//! the others run: the carrier runs its other coroutines, its timers and its reactor. (tokio's
//! tasks have a budget for the same reason, and the same size.)
//!
//! ```text
//!   a coroutine's turn begins ──► LEFT = TURN
//!   spend ──► LEFT - cost ──► below 0: LEFT = TURN, and the others run once
//! ```
//!
//! | caller | with its budget used up |
//! |---|---|
//! | a coroutine | yields |
//! | a thread with local coroutines | gives them a turn |
//! | a future in a turn of its carrier | goes on; those of channels and I/O are `Pending` once |
//! | a task that unwinds | goes on: it may be in a panic hook |
//! | any other thread | goes on: the kernel shares out the cores |
//!
//! The budget is that of one turn: a coroutine that waits now and then never loses its carrier in
//! the middle of operations that need not wait.

use std::cell::Cell;
use std::task::Waker;

use super::park;

/// The budget of a turn: the number of operations of the cheapest kind. They take 5 to 30 ns, a
/// yield takes about 10.
const TURN: i32 = 128;

thread_local! {
    /// The rest of the current turn's budget.
    static LEFT: Cell<i32> = const { Cell::new(TURN) };
}

/// Begins a turn.
#[inline(always)]
pub(crate) fn renew() {
    LEFT.set(TURN);
}

/// Counts an operation that does not wait, before it is made.
#[inline(always)]
pub(crate) fn spend() {
    spend_many(1);
}

/// Counts an operation as costly as `cost` of the cheapest.
#[inline(always)]
pub(crate) fn spend_many(cost: i32) {
    let left = LEFT.get() - cost;
    LEFT.set(left);
    if left < 0 {
        let_others_run();
    }
}

#[cold]
fn let_others_run() {
    renew();
    park::give_way();
}

/// Counts an operation of a future, and does not let others run.
#[inline]
pub(crate) fn spend_later(cost: i32) {
    LEFT.set((LEFT.get() - cost).max(0));
}

/// Returns true if a future is to return `Pending`, after a wake-up, as the budget is used up.
#[inline]
pub(crate) fn is_used_up() -> bool {
    let used_up = LEFT.get() == 0;
    if used_up {
        renew();
    }
    used_up
}

/// Counts a poll of a future that does not wait. Returns true, and uses the waker, if it is to
/// return `Pending`.
///
/// Only in turns of trine's own future tasks, which always come back. Code that polls a future once
/// by itself takes `Pending` as the answer.
#[inline]
pub(crate) fn spend_in_poll(waker: &Waker) -> bool {
    if is_used_up() && park::is_future_turn() {
        park::wake_by_ref(waker);
        return true;
    }
    spend_later(1);
    false
}
