//! The receiving side, and its iterators.

use std::fmt;
use std::iter::FusedIterator;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{RecvError, RecvTimeoutError, TryRecvError};
use super::shared::{self, Channel, Ended, Side, Taken};
use crate::task::wait;

/// The receiving side of a channel. Clones share the messages: each message goes to one of them. The
/// channel is disconnected for the senders when the last one is dropped, and the messages in it are
/// dropped then.
pub struct Receiver<T> {
    pub(super) channel: Arc<Channel<T>>,
}

impl<T> Receiver<T> {
    /// Takes the next message: waits until there is one.
    ///
    /// Parks the coroutine it is called in, or the thread where there is none. Those that wait are
    /// served in the order in which they came. Messages that were sent before the last sender was
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
    /// message that it was given meanwhile is returned.
    #[inline(always)]
    pub fn recv(&self) -> Result<T, RecvError> {
        match self.channel.take_soon() {
            Taken::Message(message) => Ok(message),
            Taken::Closed => Err(RecvError::Disconnected),
            Taken::Empty => self.recv_waiting(),
        }
    }

    #[cold]
    fn recv_waiting(&self) -> Result<T, RecvError> {
        self.channel.take(None, wait::for_wake).map_err(|ended| match ended {
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
    /// If there is no message, for now or for good.
    #[inline]
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        match self.channel.try_take() {
            Taken::Message(message) => Ok(message),
            Taken::Empty => Err(TryRecvError::Empty),
            Taken::Closed => Err(TryRecvError::Disconnected),
        }
    }

    /// As [`recv`](Self::recv), for at most `timeout`.
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
    /// As `recv`, and if the time was up first.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        match self.channel.take_soon() {
            Taken::Message(message) => return Ok(message),
            Taken::Closed => return Err(RecvTimeoutError::Disconnected),
            Taken::Empty => {}
        }
        let deadline = Instant::now().checked_add(timeout);
        self.channel.take(deadline, wait::for_wake).map_err(|ended| match ended {
            Ended::Closed => RecvTimeoutError::Disconnected,
            Ended::TimedOut => RecvTimeoutError::Timeout,
            Ended::Interrupted(interrupted) => RecvTimeoutError::Interrupted(interrupted),
        })
    }

    /// The messages as they come, until the channel is disconnected and empty. Waits as
    /// [`recv`](Self::recv); a cancelled task is unwound there.
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

    /// The messages that are there, without waiting for more.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        TryIter { receiver: self }
    }

    /// As `recv`, for a wait that cannot fail.
    #[inline(always)]
    fn next(&self) -> Option<T> {
        match self.channel.take_soon() {
            Taken::Message(message) => Some(message),
            Taken::Closed => None,
            Taken::Empty => self.channel.take(None, shared::wait_or_unwind).ok(),
        }
    }

    /// How many messages lie in the channel, at this moment.
    pub fn len(&self) -> usize {
        self.channel.len()
    }

    /// Whether there is no message in the channel; of a rendezvous always.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room in the channel; of a rendezvous always.
    pub fn is_full(&self) -> bool {
        self.channel.is_full()
    }

    /// How many messages have room; `None` if there is no bound, 0 for a rendezvous.
    pub fn capacity(&self) -> Option<usize> {
        self.channel.bound()
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.channel.add(Side::Receiver);
        Receiver { channel: Arc::clone(&self.channel) }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.leave(Side::Receiver);
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::describe("Receiver", &self.channel, f)
    }
}

/// The messages of a channel as they come; see [`Receiver::iter`].
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

/// The messages that are in a channel; see [`Receiver::try_iter`].
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

/// The messages of a channel as they come, with the receiver; see [`Receiver::iter`].
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
