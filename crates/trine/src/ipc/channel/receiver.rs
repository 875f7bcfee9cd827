//! The receiving end, and its iterator.

use std::fmt;
use std::iter::FusedIterator;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec;
use super::end::{self, End};
use super::error::{Reason, RecvError};
use super::layout::Position;
use super::ring::Found;
use crate::task::budget;

/// The receiving end of a channel between processes. Clones share the messages: each message goes
/// to one of them.
///
/// The senders are disconnected when the last clone, in all processes, is dropped.
///
/// ```
/// let (sender, receiver) = trine::ipc::channel(8)?;
/// let other = receiver.clone();
/// sender.send(1)?;
/// sender.send(2)?;
/// assert_eq!((receiver.recv()?, other.recv()?), (1, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Receiver<T> {
    pub(super) end: Arc<End>,
    pub(super) messages: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Receiver<T> {
    /// Takes the next message, and waits until there is one.
    ///
    /// Parks the calling coroutine, or the thread outside a coroutine. Messages are received even
    /// if their sender has exited or died since.
    ///
    /// ```
    /// let (sender, receiver) = trine::ipc::channel(8)?;
    /// let task = trine::coroutine::spawn(move || sender.send((1, 2.5)));
    /// assert_eq!(receiver.recv()?, (1, 2.5));
    /// assert!(receiver.recv().unwrap_err().is_disconnected());
    /// # task.join()??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if there is no message and no sender is left in any process, if the task is cancelled
    /// while it waits, if the message cannot be decoded, and if another process has corrupted the
    /// channel. After the last two the channel remains usable.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.take_until(None)
    }

    /// Takes the next message if there is one.
    ///
    /// ```
    /// let (sender, receiver) = trine::ipc::channel(8)?;
    /// assert!(receiver.try_recv().unwrap_err().is_empty());
    /// sender.send(7)?;
    /// assert_eq!(receiver.try_recv()?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`recv`](Self::recv) does, and if there is no message now. After the last sender
    /// was killed, it may take some calls until the error says so.
    #[inline]
    pub fn try_recv(&self) -> Result<T, RecvError> {
        budget::spend();
        let ring = &*self.end.ring;
        let reason = match self.look() {
            Found::Claimed(position) => return open(codec::unpack(ring, position)),
            Found::Broken => end::BROKEN,
            Found::Busy(_) => Reason::Empty,
            Found::Nothing => match self.end.is_disconnected() {
                false => Reason::Empty,
                // Messages that were sent before are visible now.
                true => match self.look() {
                    Found::Claimed(position) => return open(codec::unpack(ring, position)),
                    Found::Busy(_) => Reason::Empty,
                    _ => Reason::Disconnected,
                },
            },
        };
        Err(RecvError { reason })
    }

    /// Takes the next message, and waits for it for at most `timeout`; zero only looks.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = trine::ipc::channel::<u32>(8)?;
    /// let error = receiver.recv_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timeout());
    /// # drop(sender);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`recv`](Self::recv) does, and when the timeout is over.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        if !timeout.is_zero() {
            return self.take_until(Instant::now().checked_add(timeout));
        }
        self.try_recv().map_err(|error| match error.reason {
            Reason::Empty => RecvError { reason: Reason::TimedOut },
            _ => error,
        })
    }

    /// Claims a message. A caller that never waits must also reclaim what a dead process has left
    /// unfinished.
    #[inline]
    fn look(&self) -> Found<Position> {
        let ring = &*self.end.ring;
        match ring.claim_to_read() {
            Found::Busy(Some(claim)) if ring.reclaim(claim) => ring.claim_to_read(),
            found => found,
        }
    }

    #[inline]
    fn take_until(&self, deadline: Option<Instant>) -> Result<T, RecvError> {
        budget::spend();
        let ring = &*self.end.ring;
        let position = match ring.claim_to_read() {
            Found::Claimed(position) => position,
            Found::Broken => return Err(RecvError { reason: end::BROKEN }),
            Found::Nothing | Found::Busy(_) => self
                .end
                .wait(deadline, || ring.claim_to_read())
                .map_err(|reason| RecvError { reason })?,
        };
        open(codec::unpack(ring, position))
    }

    /// Returns an iterator over the messages, which ends when no sender is left. It waits as
    /// [`recv`](Self::recv) does.
    ///
    /// ```
    /// let (sender, receiver) = trine::ipc::channel(8)?;
    /// for n in 1..=3 {
    ///     sender.send(n)?;
    /// }
    /// drop(sender);
    /// assert_eq!(receiver.iter().sum::<Result<i32, _>>()?, 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Its items are results: it goes on after a message that cannot be decoded, and ends after a
    /// cancellation.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self, ended: false }
    }
}

#[inline]
fn open<T>(unpacked: Result<T, Reason>) -> Result<T, RecvError> {
    unpacked.map_err(|reason| RecvError { reason })
}

impl<T> Receiver<T> {
    /// Returns the current number of messages in the channel.
    ///
    /// ```
    /// let (sender, receiver) = trine::ipc::channel(8)?;
    /// assert!(receiver.is_empty());
    /// sender.send(7)?;
    /// assert_eq!((receiver.len(), receiver.capacity()), (1, 8));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn len(&self) -> usize {
        self.end.ring.len()
    }

    /// Returns true if there is no message in the channel now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of messages that the channel has room for.
    ///
    /// ```
    /// let (_sender, receiver) = trine::ipc::channel::<u64>(8)?;
    /// assert_eq!(receiver.capacity(), 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn capacity(&self) -> usize {
        self.end.ring.layout.capacity
    }

    /// Returns the size limit of an encoded message in bytes.
    ///
    /// ```
    /// let (_sender, receiver) = trine::ipc::channel_with::<u64>(8, 100)?;
    /// assert_eq!(receiver.max_message_bytes(), 100);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn max_message_bytes(&self) -> usize {
        self.end.ring.layout.max_message
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver { end: Arc::clone(&self.end), messages: PhantomData }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.end.fmt_as("Receiver", f)
    }
}

/// The messages of a [`Receiver`]; made by [`iter`](Receiver::iter).
#[derive(Debug)]
pub struct Iter<'a, T> {
    receiver: &'a Receiver<T>,
    ended: bool,
}

impl<T: Serialize + DeserializeOwned> Iterator for Iter<'_, T> {
    type Item = Result<T, RecvError>;

    fn next(&mut self) -> Option<Result<T, RecvError>> {
        if self.ended {
            return None;
        }
        let next = self.receiver.recv();
        if let Err(error) = &next {
            self.ended = !matches!(error.reason(), Reason::Codec(_));
            if error.is_disconnected() {
                return None;
            }
        }
        Some(next)
    }
}

impl<T: Serialize + DeserializeOwned> FusedIterator for Iter<'_, T> {}

impl<'a, T: Serialize + DeserializeOwned> IntoIterator for &'a Receiver<T> {
    type Item = Result<T, RecvError>;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}
