//! A part of a task whose waits other tasks can end.

use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::task::Waker;

use crate::task::wakers;

/// The function of the scope runs, or is about to.
const ENTERED: u8 = 0;
/// The waits of the function end.
const ENDED: u8 = 1;
/// The function has ended.
const LEFT: u8 = 2;

/// A part of a task whose waits other tasks can end: the body of a [`scope`](crate::scope()), for
/// its children.
#[derive(Debug)]
pub(crate) struct CancelScope {
    /// `ENTERED`, `ENDED` or `LEFT`.
    state: AtomicU8,
    /// Wakes the task.
    waker: Waker,
}

impl CancelScope {
    /// Makes a scope that only the owner of `waker` will enter.
    pub(crate) fn new(waker: Waker) -> Arc<CancelScope> {
        Arc::new(CancelScope { state: AtomicU8::new(ENTERED), waker })
    }

    /// Ends the waits inside.
    pub(crate) fn end(&self) {
        if self.state.compare_exchange(ENTERED, ENDED, Release, Relaxed).is_ok() {
            wakers::wake_by_ref(&self.waker);
        }
    }

    /// Returns true if the waits inside end.
    pub(in crate::task) fn is_ended(&self) -> bool {
        self.state.load(Acquire) == ENDED
    }

    /// Notes that the function has ended.
    pub(super) fn leave(&self) {
        self.state.store(LEFT, Relaxed);
    }
}
