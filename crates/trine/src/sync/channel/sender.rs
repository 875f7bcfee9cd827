//! The sending side.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::blocking::{self, Ended};
use super::error::{SendError, SendTimeoutError, TrySendError};
use super::shared::{self, Channel};
use super::state::{Put, Side};
use crate::sync::queue::deadline;
use crate::task::budget;

/// The sending side of a channel. Clones send into the same channel. When the last clone is
/// dropped, the receivers are disconnected.
///
/// ```
/// use trine::sync::channel;
///
/// let (sender, receiver) = channel::bounded(2);
/// let other = sender.clone();
/// sender.send(1)?;
/// other.send(2)?;
/// assert!(sender.is_full() && other.len() == 2);
/// drop((sender, other));
/// assert!(receiver.iter().eq([1, 2]));
/// # Ok::<(), channel::SendError<i32>>(())
/// ```
pub struct Sender<T> {
    pub(super) channel: Arc<Channel<T>>,
}

impl<T> Sender<T> {
    /// Sends `value`. Waits until there is room for it, at a rendezvous until a receiver has taken
    /// it.
    ///
    /// Parks the coroutine it is called in, or the thread if there is none. Waiting senders are
    /// served in the order in which they came.
    ///
    /// ```
    /// use trine::sync::channel;
    ///
    /// let (sender, receiver) = channel::bounded(1);
    /// sender.send(7)?;
    /// assert_eq!(receiver.recv(), Ok(7));
    /// drop(receiver);
    /// assert_eq!(sender.send(8).unwrap_err().into_inner(), 8);
    /// # Ok::<(), channel::SendError<i32>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// With the value, if no receiver is left, or the task was cancelled while it waited. A value
    /// that a receiver has taken meanwhile counts as sent.
    #[inline(always)]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self.channel.try_put_twice(value) {
            Put::Sent => Ok(()),
            Put::Closed(value) => Err(SendError::Disconnected(value)),
            Put::Full(value) => self.send_waiting(value),
        }
    }

    #[cold]
    fn send_waiting(&self, value: T) -> Result<(), SendError<T>> {
        self.channel.put(value, None, blocking::wait_or_fail).map_err(
            |(value, ended)| match ended {
                Ended::Closed => SendError::Disconnected(value),
                Ended::Interrupted(interrupted) => SendError::Interrupted(value, interrupted),
                Ended::TimedOut => unreachable!("there was no deadline"),
            },
        )
    }

    /// Sends `value` if that needs no waiting.
    ///
    /// ```
    /// use trine::sync::channel::{self, TrySendError};
    ///
    /// let (sender, receiver) = channel::bounded(1);
    /// assert_eq!(sender.try_send('a'), Ok(()));
    /// assert_eq!(sender.try_send('b'), Err(TrySendError::Full('b')));
    /// # drop(receiver);
    /// ```
    ///
    /// # Errors
    ///
    /// With the value, if there is no room, at a rendezvous no waiting receiver, or if no receiver
    /// is left.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        budget::spend();
        match self.channel.try_put(value) {
            Put::Sent => Ok(()),
            Put::Full(value) => Err(TrySendError::Full(value)),
            Put::Closed(value) => Err(TrySendError::Disconnected(value)),
        }
    }

    /// Sends like [`send`](Self::send), and waits for at most `timeout`; zero only looks.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::sync::channel;
    ///
    /// let (sender, receiver) = channel::rendezvous();
    /// let error = sender.send_timeout("unsent", Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timeout());
    /// assert!(receiver.try_recv().unwrap_err().is_empty());
    /// ```
    ///
    /// # Errors
    ///
    /// With the value, the same as of `send`, and if the time was up first.
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendTimeoutError<T>> {
        if timeout.is_zero() {
            return self.try_send(value).map_err(|error| match error {
                TrySendError::Full(value) => SendTimeoutError::Timeout(value),
                TrySendError::Disconnected(value) => SendTimeoutError::Disconnected(value),
            });
        }
        let value = match self.channel.try_put_twice(value) {
            Put::Sent => return Ok(()),
            Put::Closed(value) => return Err(SendTimeoutError::Disconnected(value)),
            Put::Full(value) => value,
        };
        let deadline = deadline(timeout);
        self.channel.put(value, deadline, blocking::wait_or_fail).map_err(|(value, ended)| {
            match ended {
                Ended::Closed => SendTimeoutError::Disconnected(value),
                Ended::TimedOut => SendTimeoutError::Timeout(value),
                Ended::Interrupted(interrupted) => {
                    SendTimeoutError::Interrupted(value, interrupted)
                }
            }
        })
    }

    /// Returns true if both are senders of one channel.
    ///
    /// ```
    /// use trine::sync::channel;
    ///
    /// let (sender, _receiver) = channel::bounded::<u8>(1);
    /// let other = channel::bounded::<u8>(1).0;
    /// assert!(sender.same_channel(&sender.clone()));
    /// assert!(!sender.same_channel(&other));
    /// ```
    pub fn same_channel(&self, other: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.channel, &other.channel)
    }

    /// Returns the number of messages in the channel at this moment.
    pub fn len(&self) -> usize {
        budget::spend();
        self.channel.len()
    }

    /// Returns true if the channel holds no message; always for a rendezvous.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if the channel has no room; always for a rendezvous.
    pub fn is_full(&self) -> bool {
        budget::spend();
        self.channel.is_full()
    }

    /// Returns the number of messages that have room. `None` if there is no bound, 0 for a
    /// rendezvous.
    pub fn capacity(&self) -> Option<usize> {
        self.channel.bound()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.channel.add_handle(Side::Sender);
        Sender { channel: Arc::clone(&self.channel) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.channel.drop_handle(Side::Sender);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shared::describe("Sender", &self.channel, f)
    }
}
