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

/// The receiving end of a channel between processes. Clones share the messages: each message goes to one of them.
/// The channel is disconnected for the senders when the last one, in all processes, is gone.
pub struct Receiver<T> {
    pub(super) end: Arc<End>,
    pub(super) messages: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Receiver<T> {
    /// Takes the next message: waits until there is one.
    ///
    /// Parks the coroutine it is called in, or the thread where there is none. Messages of a sender that has
    /// ended since, however it did, are still received.
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
    /// If there is no message and no sender left in any process, the task was cancelled while it waited, the
    /// message cannot be decoded, or another process has damaged the channel. After the last two the channel can
    /// be used further.
    #[inline]
    pub fn recv(&self) -> Result<T, RecvError> {
        self.take_until(None)
    }

    /// Takes the next message if there is one.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), and if there is none now. That the last sender was killed may be told some calls
    /// later.
    #[inline]
    pub fn try_recv(&self) -> Result<T, RecvError> {
        let ring = &*self.end.ring;
        let reason = match self.look() {
            Found::Claimed(position) => return open(codec::unpack(ring, position)),
            Found::Broken => end::BROKEN,
            Found::Soon(_) => Reason::Empty,
            Found::Nothing => match self.end.is_gone() {
                false => Reason::Empty,
                // What was sent before is there now.
                true => match self.look() {
                    Found::Claimed(position) => return open(codec::unpack(ring, position)),
                    Found::Soon(_) => Reason::Empty,
                    _ => Reason::Disconnected,
                },
            },
        };
        Err(RecvError { reason })
    }

    /// As [`recv`](Self::recv), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// As `recv`, and if the time was up first.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvError> {
        self.take_until(Instant::now().checked_add(timeout))
    }

    /// Claims a message; one who never waits also has to end what the dead have begun.
    #[inline]
    fn look(&self) -> Found<Position> {
        let ring = &*self.end.ring;
        match ring.claim_to_read() {
            Found::Soon(Some(claim)) if ring.settle(claim) => ring.claim_to_read(),
            found => found,
        }
    }

    #[inline]
    fn take_until(&self, deadline: Option<Instant>) -> Result<T, RecvError> {
        let ring = &*self.end.ring;
        let position = match ring.claim_to_read() {
            Found::Claimed(position) => position,
            Found::Broken => return Err(RecvError { reason: end::BROKEN }),
            Found::Nothing | Found::Soon(_) => self
                .end
                .wait(deadline, || ring.claim_to_read())
                .map_err(|reason| RecvError { reason })?,
        };
        open(codec::unpack(ring, position))
    }

    /// The messages as they come, until no sender is left. Waits as [`recv`](Self::recv).
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
    /// Its items are results: a message that cannot be decoded does not end it, a cancellation does.
    pub fn iter(&self) -> Iter<'_, T> {
        Iter { receiver: self, ended: false }
    }
}

#[inline]
fn open<T>(unpacked: Result<T, Reason>) -> Result<T, RecvError> {
    unpacked.map_err(|reason| RecvError { reason })
}

impl<T> Receiver<T> {
    /// How many messages lie in the channel, at this moment.
    pub fn len(&self) -> usize {
        self.end.ring.len()
    }

    /// Whether there is no message in the channel, at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many messages have room.
    pub fn capacity(&self) -> usize {
        self.end.ring.layout.capacity
    }

    /// Most bytes of an encoded message.
    pub fn max_message_bytes(&self) -> usize {
        self.end.ring.layout.longest
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        Receiver { end: Arc::clone(&self.end), messages: PhantomData }
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.end.show("Receiver", f)
    }
}

/// The messages of a [`Receiver`], see [`iter`](Receiver::iter).
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
