//! The messages of a channel and its queues of waiters, for the holder of the channel's lock.
//!
//! A message that arrives while a receiver waits goes straight into that receiver's [`Waiter`]. A
//! receiver that makes room moves the message of the longest-waiting sender into the buffer. So,
//! whenever the lock is free:
//!
//! - receivers wait only if there is no message and no sender waits;
//! - senders wait only if the buffer is full (at a rendezvous: always).
//!
//! The exception is arms of the same `select!`, which do not meet each other.
//!
//! [`Waiter`]: super::waiter::Waiter

use std::collections::VecDeque;
use std::task::Waker;

use super::waiter::{Choice, Queue};

/// The queue that a waiter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Sender,
    Receiver,
}

pub(super) struct State<T> {
    pub(super) messages: VecDeque<T>,
    pub(super) receivers: Queue<T>,
    pub(super) senders: Queue<T>,
    /// `CLOSED` if one side has disconnected: there will be no more messages, or no receiver for
    /// them. Else 0.
    pub(super) closed: usize,
}

/// The outcome of a receive that does not wait.
pub(super) enum Taken<T> {
    Message(T),
    Empty,
    Closed,
}

/// The outcome of a send that does not wait.
pub(super) enum Put<T, F = T> {
    Sent,
    Full(F),
    Closed(T),
}

impl<T> State<T> {
    pub(super) const fn new() -> State<T> {
        State {
            messages: VecDeque::new(),
            receivers: Queue::new(),
            senders: Queue::new(),
            closed: 0,
        }
    }

    /// Takes a message. The waker is that of a sender which this has let go on.
    #[inline]
    pub(super) fn take(&mut self, capacity: usize) -> (Taken<T>, Option<Waker>) {
        match self.messages.pop_front() {
            Some(message) if self.senders.is_empty() => (Taken::Message(message), None),
            Some(message) => (Taken::Message(message), self.refill(capacity)),
            None => self.take_from_sender(),
        }
    }

    /// Moves the message of a waiting sender into the buffer.
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

    /// Puts a message in. The waker is that of the receiver which has got it.
    #[inline]
    pub(super) fn put(&mut self, message: T, capacity: usize) -> (Put<T>, Option<Waker>) {
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

    /// Returns true if a newcomer to this side would have to wait. The waiters of its `own`
    /// `select!` do not count as partners.
    pub(super) fn must_wait(&self, side: Side, capacity: usize, own: &Choice) -> bool {
        self.closed == 0
            && match side {
                Side::Sender => {
                    self.messages.len() >= capacity && !self.receivers.has_other_than(own)
                }
                Side::Receiver => self.messages.is_empty() && !self.senders.has_other_than(own),
            }
    }
}
