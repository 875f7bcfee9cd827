//! A waiter at a channel: a value on the stack of the waiting call (or in a future), linked into
//! the channel's queue while it waits.
//!
//! ```text
//!   channel ─ receivers ─► Waiter ◄─► Waiter ◄─► Waiter     each on its own stack
//!                            │ value: put here by the sender that grants it
//!   channel ─ senders ───► Waiter ◄─► Waiter
//!                            │ value: taken from here by the receiver that grants it
//! ```
//!
//! | field | touched by |
//! |---|---|
//! | `next`, `previous`, `queued`, `waker`, `choice` | the lock's holder; the owner at first |
//! | `value` | the lock's holder while `state` is `WAITING`, the owner otherwise |
//! | `state` | written by the lock's holder, read by the owner without the lock |
//!
//! The party that grants a waiter first takes it out of the queue and takes its waker, and stores
//! the state last: from then on the owner may have freed it. Ordering: that store releases the
//! value, the owner's load acquires it.

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::ptr::NonNull;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::task::Waker;

use crate::sync::atomic::{AtomicU8, AtomicU32};

/// Nothing has happened yet.
const WAITING: u8 = 0;
/// The message was handed over.
const GRANTED: u8 = 1;
/// The other side is disconnected.
const CLOSED: u8 = 2;

/// The progress of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Waiting,
    Granted,
    Closed,
}

type Link<T> = Cell<Option<NonNull<Waiter<T>>>>;

pub(super) struct Waiter<T> {
    next: Link<T>,
    previous: Link<T>,
    queued: Cell<bool>,
    state: AtomicU8,
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
    /// The `select!` that this waiter is an arm of, and the number of the arm.
    choice: Cell<Option<(NonNull<Choice>, u32)>>,
    _pinned: PhantomPinned,
}

impl<T> Waiter<T> {
    pub(super) fn new(value: Option<T>) -> Waiter<T> {
        Waiter {
            next: Cell::new(None),
            previous: Cell::new(None),
            queued: Cell::new(false),
            state: AtomicU8::new(WAITING),
            value: Cell::new(value),
            waker: Cell::new(None),
            choice: Cell::new(None),
            _pinned: PhantomPinned,
        }
    }

    #[inline]
    pub(super) fn progress(&self) -> Progress {
        match self.state.load(Acquire) {
            WAITING => Progress::Waiting,
            GRANTED => Progress::Granted,
            _ => Progress::Closed,
        }
    }

    /// Returns true if it is in a queue. For the holder of the lock.
    pub(super) fn is_queued(&self) -> bool {
        self.queued.get()
    }

    /// Makes it an arm of a choice. Before it is queued.
    pub(super) fn set_choice(&self, choice: &Choice, arm: u32) {
        self.choice.set(Some((NonNull::from(choice), arm)));
    }

    /// Sets the waker. Before it is queued, or by the lock's holder.
    pub(super) fn set_waker(&self, waker: Waker) {
        self.waker.set(Some(waker));
    }

    /// Replaces the waker. For the lock's holder.
    pub(super) fn replace_waker(&self, waker: Option<Waker>) -> Option<Waker> {
        self.waker.replace(waker)
    }

    /// Makes a settled waiter wait again. Before it is queued.
    pub(super) fn reset(&self) {
        self.state.store(WAITING, Relaxed);
    }

    /// Takes the value. The table at the top says when.
    pub(super) fn take_value(&self) -> Option<T> {
        self.value.take()
    }

    /// Sets the value. The table at the top says when.
    pub(super) fn set_value(&self, value: T) {
        self.value.set(Some(value));
    }

    /// Ends the wait of a waiter that was taken out of its queue, under the lock. From here on the
    /// waiter is its owner's. The waker is to be woken when the lock is free.
    fn settle(&self, state: u8) -> Option<Waker> {
        let waker = self.waker.take();
        self.state.store(state, Release);
        waker
    }

    /// Marks the message as handed over; see [`settle`](Self::settle).
    pub(super) fn grant(&self) -> Option<Waker> {
        self.settle(GRANTED)
    }

    /// Marks the other side as disconnected; see [`settle`](Self::settle).
    pub(super) fn close(&self) -> Option<Waker> {
        self.settle(CLOSED)
    }
}

/// The decision of one `select!`: at most one of its arms is granted.
///
/// A grant of an arm begins with winning the choice, under the lock of the arm's channel. The
/// `select!` goes on only after it has withdrawn each of its waiters under the same locks, so the
/// winner has finished by then.
pub struct Choice {
    winner: AtomicU32,
}

/// No arm has won yet.
pub(super) const OPEN: u32 = u32::MAX;

impl Choice {
    pub(super) fn new() -> Choice {
        Choice { winner: AtomicU32::new(OPEN) }
    }

    /// Decides for `arm`. Returns false if the choice is decided already.
    #[must_use = "only one arm may go on"]
    pub(super) fn win(&self, arm: u32) -> bool {
        self.winner.compare_exchange(OPEN, arm, AcqRel, Acquire).is_ok()
    }

    /// Returns the arm that has won, or [`OPEN`].
    pub(super) fn winner(&self) -> u32 {
        self.winner.load(Acquire)
    }
}

/// Waiters in the order in which they came. In the channel, under its lock.
pub(super) struct Queue<T> {
    first: Option<NonNull<Waiter<T>>>,
    last: Option<NonNull<Waiter<T>>>,
}

impl<T> Queue<T> {
    pub(super) const fn new() -> Queue<T> {
        Queue { first: None, last: None }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Adds a waiter at the end.
    /// # Safety
    ///
    /// The waiter stays where it is, and alive, until it is out of the queue again.
    pub(super) unsafe fn push(&mut self, waiter: &Waiter<T>) {
        debug_assert!(!waiter.queued.get());
        let this = NonNull::from(waiter);
        waiter.queued.set(true);
        waiter.next.set(None);
        waiter.previous.set(self.last);
        match self.last {
            // SAFETY: a queued waiter is alive, by `push`'s promise.
            Some(last) => unsafe { last.as_ref() }.next.set(Some(this)),
            None => self.first = Some(this),
        }
        self.last = Some(this);
    }

    /// Removes a waiter of this queue.
    pub(super) fn remove(&mut self, waiter: &Waiter<T>) {
        debug_assert!(waiter.queued.get());
        let (previous, next) = (waiter.previous.get(), waiter.next.get());
        match previous {
            // SAFETY: a queued waiter is alive, by `push`'s promise.
            Some(previous) => unsafe { previous.as_ref() }.next.set(next),
            None => self.first = next,
        }
        match next {
            // SAFETY: as above.
            Some(next) => unsafe { next.as_ref() }.previous.set(previous),
            None => self.last = previous,
        }
        waiter.queued.set(false);
    }

    /// Removes the longest-waiting waiter that is not an arm of an already decided `select!`. The
    /// caller has to settle it before it gives the lock back.
    #[inline]
    pub(super) fn claim(&mut self) -> Option<&Waiter<T>> {
        if self.is_empty() { None } else { self.claim_slow() }
    }

    fn claim_slow(&mut self) -> Option<&Waiter<T>> {
        loop {
            // SAFETY: a queued waiter is alive, by `push`'s promise, and a removed one until it is
            // settled: its owner takes the lock, which the caller has, before it goes on.
            let first = unsafe { self.first?.as_ref() };
            self.remove(first);
            match first.choice.get() {
                None => return Some(first),
                // SAFETY: the choice outlives its arms, which are alive.
                Some((choice, arm)) if unsafe { choice.as_ref() }.win(arm) => return Some(first),
                Some(_) => {}
            }
        }
    }

    /// Returns true if [`claim`](Self::claim) would find a waiter that does not belong to `own`.
    pub(super) fn has_other_than(&self, own: &Choice) -> bool {
        let mut at = self.first;
        while let Some(waiter) = at {
            // SAFETY: a queued waiter is alive, by `push`'s promise.
            let waiter = unsafe { waiter.as_ref() };
            match waiter.choice.get() {
                None => return true,
                // SAFETY: the choice outlives its arms.
                Some((choice, _)) if !std::ptr::eq(choice.as_ptr(), own) => {
                    // SAFETY: as above.
                    if unsafe { choice.as_ref() }.winner() == OPEN {
                        return true;
                    }
                }
                Some(_) => {}
            }
            at = waiter.next.get();
        }
        false
    }
}
