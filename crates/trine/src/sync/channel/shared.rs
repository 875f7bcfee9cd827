//! The shared part of the two sides of a channel: its state, under one short [`Lock`], and the
//! counts of its handles.

use std::cell::UnsafeCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::task::Waker;

use super::state::{Put, Side, State, Taken};
use crate::sync::atomic::AtomicUsize;
use crate::sync::lock::Lock;
use crate::task::spin::AdaptiveSpin;
use crate::task::{budget, park, wait};

/// The capacity of an unbounded channel.
pub(super) const UNBOUNDED: usize = usize::MAX;
/// In `level` and `closed`: one side has disconnected.
const CLOSED: usize = 1 << (usize::BITS - 1);
/// The number of waiters that are woken between two holds of the lock.
const BATCH: usize = 32;

pub(super) struct Channel<T> {
    lock: Lock,
    /// The number of messages in the buffer, and `CLOSED`: for a look without the lock. Written
    /// under it.
    level: AtomicUsize,
    capacity: usize,
    state: UnsafeCell<State<T>>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// Budget in yields.
    pub(super) spin: AdaptiveSpin<8, 256>,
}

// SAFETY: `state`, and the waiters that its queues lead to, are touched under `lock` only. Messages
// go from one thread to another and are never shared: `Send` is enough.
unsafe impl<T: Send> Sync for Channel<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Channel<T> {}

// A panic of user code finds the state whole: none runs under the lock.
impl<T> UnwindSafe for Channel<T> {}
impl<T> RefUnwindSafe for Channel<T> {}

/// The state, while the lock is held.
pub(super) struct Locked<'a, T> {
    channel: &'a Channel<T>,
}

impl<T> Deref for Locked<'_, T> {
    type Target = State<T>;

    #[inline(always)]
    fn deref(&self) -> &State<T> {
        // SAFETY: this holds the lock.
        unsafe { &*self.channel.state.get() }
    }
}

impl<T> DerefMut for Locked<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut State<T> {
        // SAFETY: this holds the lock, and is borrowed exclusively.
        unsafe { &mut *self.channel.state.get() }
    }
}

impl<T> Drop for Locked<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.channel.level.store(self.messages.len() | self.closed, Relaxed);
        self.channel.lock.unlock();
    }
}

#[inline(always)]
pub(super) fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        park::wake(waker);
    }
}

impl<T> Channel<T> {
    /// Makes a channel with one sender and one receiver.
    pub(super) fn new(capacity: usize) -> Channel<T> {
        Channel {
            lock: Lock::new(),
            level: AtomicUsize::new(0),
            capacity,
            state: UnsafeCell::new(State::new()),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(1),
            spin: AdaptiveSpin::new(),
        }
    }

    #[inline(always)]
    pub(super) fn lock(&self) -> Locked<'_, T> {
        self.lock.lock();
        Locked { channel: self }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Returns the capacity in its public form: `None` for no bound.
    pub(super) fn bound(&self) -> Option<usize> {
        Some(self.capacity).filter(|capacity| *capacity != UNBOUNDED)
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    pub(super) fn len(&self) -> usize {
        match self.capacity {
            0 => 0,
            _ => self.level.load(Relaxed) & !CLOSED,
        }
    }

    /// Takes a message if there is one.
    #[inline]
    pub(super) fn try_take(&self) -> Taken<T> {
        // At a rendezvous the waiting senders hold the messages.
        if self.level.load(Relaxed) == 0 && self.capacity != 0 {
            return Taken::Empty;
        }
        let mut state = self.lock();
        let (taken, waker) = state.take(self.capacity);
        drop(state);
        wake(waker);
        taken
    }

    /// Puts a message in if there is room for it, or a receiver that waits.
    #[inline]
    pub(super) fn try_put(&self, message: T) -> Put<T> {
        let mut state = self.lock();
        let (put, waker) = state.put(message, self.capacity);
        drop(state);
        wake(waker);
        put
    }

    /// Tries to take a message, and once more after other coroutines had their turn.
    #[inline(always)]
    pub(super) fn try_take_twice(&self) -> Taken<T> {
        budget::spend();
        match self.try_take() {
            Taken::Empty if wait::pass() => self.try_take(),
            taken => taken,
        }
    }

    /// Tries to put a message in, and once more after other coroutines had their turn.
    #[inline(always)]
    pub(super) fn try_put_twice(&self, message: T) -> Put<T> {
        budget::spend();
        match self.try_put(message) {
            Put::Full(message) if self.capacity != 0 && wait::pass() => self.try_put(message),
            put => put,
        }
    }

    /// Counts one more handle of a side.
    pub(super) fn add_handle(&self, side: Side) {
        let before = self.count(side).fetch_add(1, Relaxed);
        // The same limit as that of `Arc`: handles forgotten in a loop must not wrap the count.
        if before > isize::MAX as usize {
            std::process::abort();
        }
    }

    /// Counts one handle of a side less. The last one closes the channel.
    pub(super) fn drop_handle(&self, side: Side) {
        if self.count(side).fetch_sub(1, AcqRel) == 1 {
            self.close();
        }
    }

    fn count(&self, side: Side) -> &AtomicUsize {
        match side {
            Side::Sender => &self.senders,
            Side::Receiver => &self.receivers,
        }
    }

    /// Closes the channel: wakes all waiters, and drops the messages if no receiver is left.
    #[cold]
    fn close(&self) {
        let mut state = self.lock();
        state.closed = CLOSED;
        drop(state);
        loop {
            let mut wakers = Vec::with_capacity(BATCH);
            let mut state = self.lock();
            while wakers.len() < BATCH {
                // One queue is empty: the disconnected side does not wait.
                let state = &mut *state;
                match state.receivers.claim().or_else(|| state.senders.claim()) {
                    Some(waiter) => wakers.push(waiter.close()),
                    None => break,
                }
            }
            drop(state);
            let more = wakers.len() == BATCH;
            wakers.into_iter().for_each(wake);
            if !more {
                break;
            }
        }
        if self.receivers.load(Relaxed) == 0 {
            // No receiver is left for these. They are dropped outside the lock: their destructors
            // may run any code.
            let left = std::mem::take(&mut self.lock().messages);
            drop(left);
        }
    }
}

/// Writes the fields of one end, named `name`, for `Debug`.
pub(super) fn describe<T>(
    name: &str,
    channel: &Channel<T>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let mut shown = f.debug_struct(name);
    shown.field("len", &channel.len());
    match channel.capacity() {
        UNBOUNDED => shown.finish_non_exhaustive(),
        capacity => shown.field("capacity", &capacity).finish_non_exhaustive(),
    }
}
