//! Calls of wakers: the one place from which a waker of any origin is woken or dropped.
//!
//! A waker of another executor runs foreign code, which may panic. A caller that wakes several of
//! them, or has more to do afterwards, must go on all the same: the other waiters would sleep
//! forever, and half-done steps would stay half-done. So a panic ends here. The hook has reported
//! it.
//!
//! Foreign code may also lock or wait, so no caller holds a lock of its own meanwhile. That goes
//! for `Waker::clone` too, whose panic goes on to the caller: it clones before it changes anything.

use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::task::Waker;

/// Wakes a waker of any origin, and uses it up.
#[inline]
pub(crate) fn wake(waker: Waker) {
    survive(|| waker.wake());
}

/// Wakes a waker of any origin that the caller keeps.
#[inline]
pub(crate) fn wake_by_ref(waker: &Waker) {
    survive(|| waker.wake_by_ref());
}

/// Drops a waker of any origin without waking it.
pub(crate) fn discard(waker: Option<Waker>) {
    if let Some(waker) = waker {
        survive(|| drop(waker));
    }
}

#[inline]
fn survive(call: impl FnOnce()) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(call)) {
        // The payload's own destructor could panic again.
        mem::forget(payload);
    }
}
