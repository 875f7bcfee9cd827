//! What the two sides of a channel share: the messages, who waits, and how a wait goes.
//!
//! All of it is under one short [`Lock`]. A message that arrives while a receiver waits goes
//! straight into that receiver's [`Waiter`]; a receiver that makes room takes the message of the
//! sender that has waited longest into the buffer. So, whenever the lock is free:
//!
//! - receivers wait only if there is no message and no sender waits;
//! - senders wait only if the buffer is full (of a rendezvous: always).
//!
//! (But for arms of one and the same `select!`, which do not meet each other.)
//!
//! Before a coroutine queues, it lets the others of its carrier run once; a thread that is queued lets
//! other threads run for a while before it sleeps. Mostly that is enough for a whole batch of
//! messages or of room to come together, and nobody has to be parked and woken.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::task::Waker;
use std::time::Instant;

use super::waiter::{Progress, Queue, Waiter};
use crate::sync::atomic::AtomicUsize;
use crate::sync::lock::Lock;
use crate::task::spin::AdaptiveSpin;
use crate::task::{Interrupted, park, wait};

/// The capacity that is none.
pub(super) const UNBOUNDED: usize = usize::MAX;
/// In `level` and `closed`: one side is gone.
const CLOSED: usize = 1 << (usize::BITS - 1);
/// How many waiters are woken between two times that the lock is taken.
const BATCH: usize = 32;

pub(super) struct Channel<T> {
    lock: Lock,
    /// How many messages are in the buffer, and `CLOSED`: for a look without the lock. Written
    /// under it.
    level: AtomicUsize,
    capacity: usize,
    state: UnsafeCell<State<T>>,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// Budget in yields.
    spin: AdaptiveSpin<8, 256>,
}

// SAFETY: `state`, and the waiters that its queues lead to, are touched under `lock` only. Messages
// go from one thread to another and are never shared: `Send` is enough.
unsafe impl<T: Send> Sync for Channel<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Channel<T> {}

pub(super) struct State<T> {
    messages: VecDeque<T>,
    receivers: Queue<T>,
    senders: Queue<T>,
    /// `CLOSED` if one side is gone: there will be no more messages, or nobody to take them. Else 0.
    closed: usize,
}

/// What a receiver finds.
pub(super) enum Taken<T> {
    Message(T),
    Empty,
    Closed,
}

/// What becomes of a message.
pub(super) enum Put<T, F = T> {
    Sent,
    Full(F),
    Closed(T),
}

/// Why a wait brought nothing.
pub(super) enum Ended {
    Closed,
    TimedOut,
    Interrupted(Interrupted),
}

/// How a wait goes: [`wait::for_wake`], or unwinding where that would fail.
pub(super) type Wait = fn(Option<Instant>) -> Result<(), Interrupted>;

/// The wait of calls that cannot fail.
pub(super) fn wait_or_unwind(deadline: Option<Instant>) -> Result<(), Interrupted> {
    wait::or_unwind(deadline);
    Ok(())
}

/// Which queue a waiter stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Sender,
    Receiver,
}

impl<T> State<T> {
    /// A message, and whom to wake for it.
    #[inline]
    fn take(&mut self, capacity: usize) -> (Taken<T>, Option<Waker>) {
        match self.messages.pop_front() {
            Some(message) if self.senders.is_empty() => (Taken::Message(message), None),
            Some(message) => (Taken::Message(message), self.refill(capacity)),
            None => self.take_from_sender(),
        }
    }

    /// Moves the message of a sender that waits to where one was taken.
    #[cold]
    fn refill(&mut self, capacity: usize) -> Option<Waker> {
        if self.messages.len() >= capacity {
            return None;
        }
        let sender = self.senders.claim()?;
        self.messages.extend(sender.take_value());
        sender.grant()
    }

    #[inline]
    fn take_from_sender(&mut self) -> (Taken<T>, Option<Waker>) {
        match self.senders.claim() {
            Some(sender) => {
                let message = sender.take_value().expect("a sender that waits has a message");
                (Taken::Message(message), sender.grant())
            }
            None if self.closed != 0 => (Taken::Closed, None),
            None => (Taken::Empty, None),
        }
    }

    #[inline]
    fn put(&mut self, message: T, capacity: usize) -> (Put<T>, Option<Waker>) {
        if self.closed != 0 {
            return (Put::Closed(message), None);
        }
        if let Some(receiver) = self.receivers.claim() {
            receiver.set_value(message);
            return (Put::Sent, receiver.grant());
        }
        if self.messages.len() < capacity {
            self.messages.push_back(message);
            return (Put::Sent, None);
        }
        (Put::Full(message), None)
    }

    pub(super) fn queue(&mut self, side: Side) -> &mut Queue<T> {
        match side {
            Side::Sender => &mut self.senders,
            Side::Receiver => &mut self.receivers,
        }
    }

    /// Whether one who comes to this side would have to wait; `own` waiters of a `select!` do not
    /// count as partners.
    pub(super) fn must_wait(
        &self,
        side: Side,
        capacity: usize,
        own: &super::waiter::Choice,
    ) -> bool {
        self.closed == 0
            && match side {
                Side::Sender => {
                    self.messages.len() >= capacity && !self.receivers.has_other_than(own)
                }
                Side::Receiver => self.messages.is_empty() && !self.senders.has_other_than(own),
            }
    }
}

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
fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl<T> Channel<T> {
    /// A channel with one sender and one receiver.
    pub(super) fn new(capacity: usize) -> Channel<T> {
        Channel {
            lock: Lock::new(),
            level: AtomicUsize::new(0),
            capacity,
            state: UnsafeCell::new(State {
                messages: VecDeque::new(),
                receivers: Queue::new(),
                senders: Queue::new(),
                closed: 0,
            }),
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

    /// The capacity, as a user is told of it.
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
        // At a rendezvous the messages are with the senders that wait.
        if self.level.load(Relaxed) == 0 && self.capacity != 0 {
            return Taken::Empty;
        }
        let mut state = self.lock();
        let (taken, waker) = state.take(self.capacity);
        drop(state);
        wake(waker);
        taken
    }

    /// Leaves a message if there is room for it, or somebody to take it.
    #[inline]
    pub(super) fn try_put(&self, message: T) -> Put<T> {
        let mut state = self.lock();
        let (put, waker) = state.put(message, self.capacity);
        drop(state);
        wake(waker);
        put
    }

    /// As [`try_take`](Self::try_take), a second time after others had their turn.
    #[inline(always)]
    pub(super) fn take_soon(&self) -> Taken<T> {
        match self.try_take() {
            Taken::Empty if park::pass() => self.try_take(),
            taken => taken,
        }
    }

    /// As [`try_put`](Self::try_put), a second time after others had their turn.
    #[inline(always)]
    pub(super) fn put_soon(&self, message: T) -> Put<T> {
        match self.try_put(message) {
            Put::Full(message) if self.capacity != 0 && park::pass() => self.try_put(message),
            put => put,
        }
    }

    /// Takes a message if there is one, else queues `waiter` for one (`Empty`).
    ///
    /// # Safety
    ///
    /// As for [`Queue::push`].
    pub(super) unsafe fn take_or_enlist(&self, waiter: &Waiter<T>) -> Taken<T> {
        let mut state = self.lock();
        let (taken, waker) = state.take(self.capacity);
        if let Taken::Empty = taken {
            // SAFETY: the caller's promise.
            unsafe { state.receivers.push(waiter) };
        }
        drop(state);
        wake(waker);
        taken
    }

    /// Leaves a message if it can, else queues `waiter` with it (`Full`).
    ///
    /// # Safety
    ///
    /// As for [`Queue::push`].
    pub(super) unsafe fn put_or_enlist(&self, message: T, waiter: &Waiter<T>) -> Put<T, ()> {
        let mut state = self.lock();
        let (put, waker) = state.put(message, self.capacity);
        let put = match put {
            Put::Sent => Put::Sent,
            Put::Closed(message) => Put::Closed(message),
            Put::Full(message) => {
                waiter.set_value(message);
                // SAFETY: the caller's promise.
                unsafe { state.senders.push(waiter) };
                Put::Full(())
            }
        };
        drop(state);
        wake(waker);
        put
    }

    /// Takes a message, waiting for it if need be.
    #[cold]
    pub(super) fn take(&self, deadline: Option<Instant>, wait: Wait) -> Result<T, Ended> {
        let waiter = Waiter::new(None);
        waiter.set_waker(park::waker());
        // SAFETY: `Enlisted` takes it out before it leaves this frame.
        match unsafe { self.take_or_enlist(&waiter) } {
            Taken::Message(message) => return Ok(message),
            Taken::Closed => return Err(Ended::Closed),
            Taken::Empty => {}
        }
        let enlisted = Enlisted { channel: self, waiter: &waiter, side: Side::Receiver };
        enlisted.wait(deadline, wait)?;
        Ok(waiter.take_value().expect("a receiver that was granted has a message"))
    }

    /// Sends a message, waiting for room, or at a rendezvous for its receiver, if need be.
    #[cold]
    pub(super) fn put(
        &self,
        message: T,
        deadline: Option<Instant>,
        wait: Wait,
    ) -> Result<(), (T, Ended)> {
        let waiter = Waiter::new(None);
        waiter.set_waker(park::waker());
        // SAFETY: `Enlisted` takes it out before it leaves this frame.
        match unsafe { self.put_or_enlist(message, &waiter) } {
            Put::Sent => return Ok(()),
            Put::Closed(message) => return Err((message, Ended::Closed)),
            Put::Full(()) => {}
        }
        let enlisted = Enlisted { channel: self, waiter: &waiter, side: Side::Sender };
        enlisted.wait(deadline, wait).map_err(|ended| {
            (waiter.take_value().expect("a sender that was not granted has its message"), ended)
        })
    }

    /// Gives a message back that a receiver was granted and will not take: it is the next.
    pub(super) fn put_back(&self, message: T) {
        let mut state = self.lock();
        let waker = match state.receivers.claim() {
            Some(receiver) => {
                receiver.set_value(message);
                receiver.grant()
            }
            None => {
                state.messages.push_front(message);
                None
            }
        };
        drop(state);
        wake(waker);
    }

    /// Takes a waiter out of its queue; `false` if it was settled before.
    pub(super) fn withdraw(&self, waiter: &Waiter<T>, side: Side) -> bool {
        let mut state = self.lock();
        let queued = waiter.is_queued();
        if queued {
            state.queue(side).remove(waiter);
        }
        queued
    }

    /// Counts one more handle of a side.
    pub(super) fn add(&self, side: Side) {
        let before = self.count(side).fetch_add(1, Relaxed);
        // As `Arc`: handles that are forgotten in a loop must not wrap the count around.
        if before > isize::MAX as usize {
            std::process::abort();
        }
    }

    /// Counts one handle of a side less; the last one closes the channel.
    pub(super) fn leave(&self, side: Side) {
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

    #[cold]
    fn close(&self) {
        let mut state = self.lock();
        state.closed = CLOSED;
        drop(state);
        loop {
            let mut wakers = Vec::with_capacity(BATCH);
            let mut state = self.lock();
            while wakers.len() < BATCH {
                // One of them is empty: the side that is gone does not wait.
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
            // Nobody will take these. They are dropped outside the lock: their destructors may do
            // anything.
            let left = std::mem::take(&mut self.lock().messages);
            drop(left);
        }
    }
}

/// A waiter in its queue; leaves it when dropped, also by unwinding.
struct Enlisted<'a, T> {
    channel: &'a Channel<T>,
    waiter: &'a Waiter<T>,
    side: Side,
}

impl<T> Enlisted<'_, T> {
    /// Waits until it is granted. What it is granted it has, also when the wait was interrupted or the time was
    /// up meanwhile.
    fn wait(&self, deadline: Option<Instant>, wait: Wait) -> Result<(), Ended> {
        let is_over = || deadline.is_some_and(|deadline| deadline <= Instant::now());
        let is_settled = || self.waiter.progress() != Progress::Waiting;
        self.channel.spin.yield_until(|| is_settled() || is_over());
        loop {
            match self.waiter.progress() {
                Progress::Granted => return Ok(()),
                Progress::Closed => return Err(Ended::Closed),
                Progress::Waiting => {}
            }
            let ended = match wait(deadline) {
                Err(interrupted) => Ended::Interrupted(interrupted),
                Ok(()) if is_over() => Ended::TimedOut,
                Ok(()) => continue,
            };
            if !is_settled() && self.channel.withdraw(self.waiter, self.side) {
                return Err(ended);
            }
        }
    }
}

impl<T> Drop for Enlisted<'_, T> {
    fn drop(&mut self) {
        leave(self.channel, self.waiter, self.side);
    }
}

/// Takes a waiter out that will not be looked at any more; a message that a receiver was granted goes
/// back.
pub(super) fn leave<T>(channel: &Channel<T>, waiter: &Waiter<T>, side: Side) {
    if waiter.progress() == Progress::Waiting && channel.withdraw(waiter, side) {
        return;
    }
    if side == Side::Receiver
        && let Some(message) = waiter.take_value()
    {
        channel.put_back(message);
    }
}
