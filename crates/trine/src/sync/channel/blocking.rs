//! A wait at a channel, of a blocking call: its waiter is enqueued, granted or withdrawn.
//!
//! Before a coroutine enqueues, it lets the others of its carrier run once. A thread that is
//! enqueued lets other threads run for a while before it sleeps. Mostly a whole batch of messages
//! or of room comes together in that time, and no party has to be parked and woken.

use std::time::Instant;

use super::shared::{Channel, wake};
use super::state::{Put, Side, Taken};
use super::waiter::{Progress, Waiter};
use crate::sync::queue::expired;
use crate::task::{Interrupted, park, wait};

/// The reason why a wait brought nothing.
pub(super) enum Ended {
    Closed,
    TimedOut,
    Interrupted(Interrupted),
}

/// The function that waits, until its deadline: [`wait_or_fail`], or [`wait_or_unwind`] for calls
/// that cannot fail. The other argument returns true if the waiter was settled; if not, it has
/// withdrawn it.
pub(super) type Wait = fn(Option<Instant>, &dyn Fn() -> bool) -> Result<(), Interrupted>;

/// Waits for calls that return an interruption as an error.
pub(super) fn wait_or_fail(
    deadline: Option<Instant>,
    _: &dyn Fn() -> bool,
) -> Result<(), Interrupted> {
    wait::for_wake(deadline)
}

/// Waits for calls that cannot fail: unwinds where [`wait_or_fail`] would return an error, unless
/// the waiter was settled.
pub(super) fn wait_or_unwind(
    deadline: Option<Instant>,
    is_settled: &dyn Fn() -> bool,
) -> Result<(), Interrupted> {
    wait::or_unwind_unless(deadline, is_settled);
    Ok(())
}

impl<T> Channel<T> {
    /// Takes a message if there is one, else enqueues `waiter` for one (`Empty`).
    ///
    /// # Safety
    ///
    /// The same as for [`Queue::push`](super::waiter::Queue::push).
    pub(super) unsafe fn take_or_enqueue(&self, waiter: &Waiter<T>) -> Taken<T> {
        let mut state = self.lock();
        let (taken, waker) = state.take(self.capacity());
        if let Taken::Empty = taken {
            // SAFETY: the caller's promise.
            unsafe { state.receivers.push(waiter) };
        }
        drop(state);
        wake(waker);
        taken
    }

    /// Puts a message in if it can, else enqueues `waiter` with it (`Full`).
    ///
    /// # Safety
    ///
    /// The same as for [`Queue::push`](super::waiter::Queue::push).
    pub(super) unsafe fn put_or_enqueue(&self, message: T, waiter: &Waiter<T>) -> Put<T, ()> {
        let mut state = self.lock();
        let (put, waker) = state.put(message, self.capacity());
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

    /// Takes a message, and waits for it if need be.
    #[cold]
    pub(super) fn take(&self, deadline: Option<Instant>, wait: Wait) -> Result<T, Ended> {
        let waiter = Waiter::new(None);
        waiter.set_waker(park::waker());
        // SAFETY: `Enqueued` withdraws the waiter before this frame is left.
        match unsafe { self.take_or_enqueue(&waiter) } {
            Taken::Message(message) => return Ok(message),
            Taken::Closed => return Err(Ended::Closed),
            Taken::Empty => {}
        }
        let enqueued = Enqueued { channel: self, waiter: &waiter, side: Side::Receiver };
        enqueued.wait(deadline, wait)?;
        Ok(waiter.take_value().expect("a receiver that was granted has a message"))
    }

    /// Sends a message. Waits for room if need be, at a rendezvous for its receiver.
    #[cold]
    pub(super) fn put(
        &self,
        message: T,
        deadline: Option<Instant>,
        wait: Wait,
    ) -> Result<(), (T, Ended)> {
        let waiter = Waiter::new(None);
        waiter.set_waker(park::waker());
        // SAFETY: `Enqueued` withdraws the waiter before this frame is left.
        match unsafe { self.put_or_enqueue(message, &waiter) } {
            Put::Sent => return Ok(()),
            Put::Closed(message) => return Err((message, Ended::Closed)),
            Put::Full(()) => {}
        }
        let enqueued = Enqueued { channel: self, waiter: &waiter, side: Side::Sender };
        enqueued.wait(deadline, wait).map_err(|ended| {
            (waiter.take_value().expect("a sender that was not granted has its message"), ended)
        })
    }

    /// Puts a message back that a receiver was granted and will not take: it is the next one.
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

    /// Removes a waiter from its queue. Returns false if it was settled before.
    pub(super) fn withdraw(&self, waiter: &Waiter<T>, side: Side) -> bool {
        let mut state = self.lock();
        let queued = waiter.is_queued();
        if queued {
            state.queue(side).remove(waiter);
        }
        queued
    }

    /// Withdraws a waiter that will not be looked at any more. Puts back a message that a receiver
    /// was granted.
    pub(super) fn abandon(&self, waiter: &Waiter<T>, side: Side) {
        if waiter.progress() == Progress::Waiting && self.withdraw(waiter, side) {
            return;
        }
        if side == Side::Receiver
            && let Some(message) = waiter.take_value()
        {
            self.put_back(message);
        }
    }
}

/// A waiter in its queue. Leaves it when dropped, also by unwinding.
struct Enqueued<'a, T> {
    channel: &'a Channel<T>,
    waiter: &'a Waiter<T>,
    side: Side,
}

impl<T> Enqueued<'_, T> {
    /// Waits until the waiter is granted. A grant counts, even if the wait was interrupted or its
    /// time was up meanwhile.
    fn wait(&self, deadline: Option<Instant>, wait: Wait) -> Result<(), Ended> {
        let is_settled = || self.waiter.progress() != Progress::Waiting;
        let is_settled_at_last = || is_settled() || !self.channel.withdraw(self.waiter, self.side);
        self.channel.spin.yield_until(|| is_settled() || expired(deadline));
        loop {
            match self.waiter.progress() {
                Progress::Granted => return Ok(()),
                Progress::Closed => return Err(Ended::Closed),
                Progress::Waiting => {}
            }
            let ended = match wait(deadline, &is_settled_at_last) {
                Err(interrupted) => Ended::Interrupted(interrupted),
                Ok(()) if expired(deadline) => Ended::TimedOut,
                Ok(()) => continue,
            };
            if !is_settled_at_last() {
                return Err(ended);
            }
        }
    }
}

impl<T> Drop for Enqueued<'_, T> {
    fn drop(&mut self) {
        self.channel.abandon(self.waiter, self.side);
    }
}
