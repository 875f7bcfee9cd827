//! The receiving side, and its iterators.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::Duration;

use super::blocking::{self, Ended};
use super::error::{RecvError, RecvTimeoutError, TryRecvError};
use super::shared::{self, Channel};
use super::state::{Side, Taken};
use crate::sync::queue::deadline;
use crate::task::budget;

/// The receiving side of a channel. Clones share the messages: each message goes to one of them.
/// When the last clone is dropped, the senders are disconnected, and the messages in the channel
/// are dropped.
///
/// ```
/// use trine::sync::channel;
///
/// let (sender, receiver) = channel::bounded(4);
/// sender.send(1)?;
/// let other = receiver.clone();
/// assert_eq!((receiver.len(), other.capacity()), (1, Some(4)));
/// assert_eq!(other.recv(), Ok(1));
/// assert!(receiver.is_empty());
/// # Ok::<(), channel::SendError<i32>>(())
/// ```
pub struct Receiver<T> {
    pub(super) channel: Arc<Channel<T>>,
}

impl<T> Receiver<T> {
    /// Takes the next message, and waits until there is one.
    ///
    /// Parks the coroutine it is called in, or the thread if there is none. Waiting receivers get
    /// messages in the order in which they came. Messages that were sent before the last sender was
    /// dropped are still received.
    ///
    /// ```
    /// use trine::coroutine;
    /// use trine::sync::channel::{self, RecvError};
    ///
    /// let (sender, receiver) = channel::bounded(1);
    /// let task = coroutine::spawn(move || sender.send("hello"));
    /// assert_eq!(receiver.recv(), Ok("hello"));
    /// assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
    /// # task.join().unwrap().unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no message and no sender is left, or the task was cancelled while it waited. A
    /// message that was granted meanwhile is returned.
    #[inline(always)]
    pub fn recv(&self) -> Result<T, RecvError> {
        match self.channel.try_take_twice() {
            Taken::Message(message) => Ok(message),
            Taken::Closed => Err(RecvError::Disconnected),
            Taken::Empty => self.recv_waiting(),
        }
    }

    #[cold]
    fn recv_waiting(&self) -> Result<T, RecvError> {
        self.channel.take(None, blocking::wait_or_fail).map_err(|ended| match ended {
            Ended::Closed => RecvError::Disconnected,
            Ended::Interrupted(interrupted) => RecvError::Interrupted(interrupted),
            Ended::TimedOut => unreachable!("there was no deadline"),
        })
    }

    /// Takes the next message if there is one.
    ///
    /// ```
    /// use trine::sync::channel::{self, TryRecvError};
    ///
    /// let (sender, receiver) = channel::unbounded();
    /// assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    /// sender.send(1)?;
    /// assert_eq!(receiver.try_recv(), Ok(1));
    /// # Ok::<(), channel::SendError<i32>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no message, for now or permanently.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        budget::spend();
        match self.channel.try_take() {
            Taken::Message(message) => Ok(message),
            Taken::Empty => Err(TryRecvError::Empty),
            Taken::Closed => Err(TryRecvError::Disconnected),
        }
    }

    /// Receives like [`recv`](Self::recv), and waits for at most `timeout`; zero only looks.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::sync::channel;
    ///
    /// let (sender, receiver) = channel::bounded::<u32>(1);
    /// assert!(receiver.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    /// # drop(sender);
    /// ```
    ///
    /// # Errors
    ///
    /// The same as of `recv`, and if the time was up first.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        if timeout.is_zero() {
            return self.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            });
        }
        match self.channel.try_take_twice() {
            Taken::Message(message) => return Ok(message),
            Taken::Closed => return Err(RecvTimeoutError::Disconnected),
            Taken::Empty => {}
        }
        let deadline = deadline(timeout);
        self.channel.take(deadline, blocking::wait_or_fail).map_err(|ended| match ended {
            Ended::Closed => RecvTimeoutError::Disconnected,
            Ended::TimedOut => RecvTimeoutError::Timeout,
            Ended::Interrupted(interrupted) => RecvTimeoutError::Interrupted(interrupted),
        })
    }

    /// Iterates over the messages as they come, until the channel is disconnected and empty. Waits
    /// like [`recv`](Self::recv); a cancelled task is unwound there.
    ///
    /// ```
    /// let (sender, receiver) = trine::sync::channel::unbounded();
    /// for n in 1..=3 {
    ///     sender.send(n).unwrap();
    /// }
    /// drop(sender);
    /// assert_eq!(receiver.iter().sum::<i32>(), 6);
    /// ```
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self }
    }

    /// Iterates over the messages in the channel, without waiting for more.
    ///
    /// ```
    /// let (sender, receiver) = trine::sync::channel::unbounded();
    /// sender.send('a')?;
    /// sender.send('b')?;
    /// assert_eq!(receiver.try_iter().collect::<String>(), "ab");
    /// # Ok::<(), trine::sync::channel::SendError<char>>(())
    /// ```
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }

    /// Receives like `recv`, in a call that cannot fail.
    #[inline(always)]
    fn next(&self) -> Option<T> {
        match self.channel.try_take_twice() {
            Taken::Message(message) => Some(message),
            Taken::Closed => None,
            Taken::Empty => self.channel.take(None, blocking::wait_or_unwind).ok(),
        }
    }

    /// Returns true if both are receivers of one channel.
    ///
    /// ```
    /// use trine::sync::channel;
    ///
    /// let (_sender, receiver) = channel::bounded::<u8>(1);
    /// let other = channel::bounded::<u8>(1).1;
    /// assert!(receiver.same_channel(&receiver.clone()));
    /// assert!(!receiver.same_channel(&other));
    /// ```
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
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

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.channel.add_handle(Side::Receiver);
        Receiver { channel: Arc::clone(&self.channel) }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.drop_handle(Side::Receiver);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shared::describe("Receiver", &self.channel, f)
    }
}

/// An iterator over the messages as they come; see [`Receiver::iter`].
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
}

impl<T> Iterator for Iter<'_, T> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        self.receiver.next()
    }
}

impl<T> FusedIterator for Iter<'_, T> {}

/// An iterator over the messages in a channel; see [`Receiver::try_iter`].
#[derive(Debug)]
pub struct TryIter<'a, T> {
    receiver: &'a Receiver<T>,
}

impl<T> Iterator for TryIter<'_, T> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        self.receiver.try_recv().ok()
    }
}

/// An iterator over the messages as they come, which owns the receiver; see [`Receiver::iter`].
///
/// ```
/// let (sender, receiver) = trine::sync::channel::unbounded();
/// sender.send(1)?;
/// drop(sender);
/// assert!(receiver.into_iter().eq([1]));
/// # Ok::<(), trine::sync::channel::SendError<i32>>(())
/// ```
#[derive(Debug)]
pub struct IntoIter<T> {
    receiver: Receiver<T>,
}

impl<T> Iterator for IntoIter<T> {
    type Item = T;

    #[inline(always)]
    fn next(&mut self) -> Option<T> {
        self.receiver.next()
    }
}

impl<T> FusedIterator for IntoIter<T> {}

impl<T> IntoIterator for Receiver<T> {
    type Item = T;
    type IntoIter = IntoIter<T>;

    fn into_iter(self) -> IntoIter<T> {
        IntoIter { receiver: self }
    }
}

impl<'a, T> IntoIterator for &'a Receiver<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
