//! The sending end.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{self, PackError, Packed};
use super::end::{self, End};
use super::error::{Reason, SendError};
use super::ring::Found;
use crate::task::budget;

/// The sending end of a channel between processes. Clones send into the same channel.
///
/// The receivers are disconnected when the last clone, in all processes, is dropped.
///
/// ```
/// let (sender, receiver) = trine::ipc::channel(8)?;
/// let other = sender.clone();
/// sender.send(1)?;
/// other.send(2)?;
/// drop((sender, other));
/// assert_eq!(receiver.iter().collect::<Result<Vec<_>, _>>()?, [1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Sender<T> {
    pub(super) end: Arc<End>,
    pub(super) messages: PhantomData<fn(T)>,
}

/// The longest wait of a send.
#[derive(Clone, Copy)]
enum Wait {
    Now,
    Until(Option<Instant>),
}

impl<T: Serialize + DeserializeOwned> Sender<T> {
    /// Encodes `value` into the channel's memory, and waits until there is room for it.
    ///
    /// Parks the calling coroutine, or the thread outside a coroutine.
    ///
    /// ```
    /// let (sender, receiver) = trine::ipc::channel(8)?;
    /// sender.send(String::from("there"))?;
    /// assert_eq!(receiver.recv()?, "there");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the value if no receiver is left in any process, if the task is cancelled while it
    /// waits, if the message is too long or cannot be encoded, and if another process has corrupted
    /// the channel. After the last receiver was killed, some sends may succeed while there is room.
    #[inline]
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.put(value, Wait::Until(None))
    }

    /// Sends `value` if there is room.
    ///
    /// ```
    /// let (sender, receiver) = trine::ipc::channel(1)?;
    /// sender.try_send(1)?;
    /// assert!(sender.try_send(2).unwrap_err().is_full());
    /// # drop(receiver);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the value as [`send`](Self::send) does, and if there is no room.
    #[inline]
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        self.put(value, Wait::Now)
    }

    /// Sends `value`, and waits for room for at most `timeout`; zero only looks.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (sender, receiver) = trine::ipc::channel(1)?;
    /// sender.send(1)?;
    /// let error = sender.send_timeout(2, Duration::from_millis(1)).unwrap_err();
    /// assert!(error.is_timeout());
    /// # drop(receiver);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the value as [`send`](Self::send) does, and when the timeout is over.
    pub fn send_timeout(&self, value: T, timeout: Duration) -> Result<(), SendError<T>> {
        if !timeout.is_zero() {
            return self.put(value, Wait::Until(Instant::now().checked_add(timeout)));
        }
        self.put(value, Wait::Now).map_err(|error| match error.reason {
            Reason::Full => SendError { reason: Reason::TimedOut, ..error },
            _ => error,
        })
    }

    /// Sends a copy of a value that the caller keeps, for example to reuse its buffer.
    ///
    /// ```
    /// let (sender, receiver) = trine::ipc::channel::<Vec<u32>>(4)?;
    /// let mut table = vec![0; 100];
    /// for n in 0..3 {
    ///     table.fill(n);
    ///     sender.send_ref(&table)?;
    /// }
    /// assert_eq!(receiver.iter().take(3).map(|table| table.unwrap()[99]).sum::<u32>(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`send`](Self::send) does; the error holds no value.
    pub fn send_ref(&self, value: &T) -> Result<(), SendError<()>> {
        let sent = self.try_put(value, Wait::Until(None));
        sent.map_err(|reason| SendError { value: (), reason })
    }

    #[inline]
    fn put(&self, value: T, wait: Wait) -> Result<(), SendError<T>> {
        budget::spend();
        match self.try_put(&value, wait) {
            Ok(()) => Ok(()),
            Err(reason) => Err(SendError { value, reason }),
        }
    }

    #[inline]
    fn try_put(&self, value: &T, wait: Wait) -> Result<(), Reason> {
        if self.end.is_disconnected() {
            return Err(Reason::Disconnected);
        }
        let ring = &*self.end.ring;
        if matches!(wait, Wait::Now) && ring.seems_full() {
            return Err(Reason::Full);
        }
        let packed = match codec::pack(ring, value) {
            Ok(packed) => packed,
            Err(PackError::Failed(reason)) => return Err(reason),
            Err(PackError::NoBlock) => self.pack_waiting(value, wait)?,
        };
        let position = match ring.claim_to_write() {
            Found::Claimed(position) => position,
            Found::Broken => return Err(end::BROKEN),
            Found::Nothing => self.wait_for(wait, || ring.claim_to_write())?,
            Found::Busy(claim) => {
                let again = match (wait, claim) {
                    // A caller that never waits must also reclaim what a dead process has left
                    // unfinished.
                    (Wait::Now, Some(claim)) if ring.reclaim(claim) => ring.claim_to_write(),
                    _ => Found::Nothing,
                };
                match again {
                    Found::Claimed(position) => position,
                    _ => self.wait_for(wait, || ring.claim_to_write())?,
                }
            }
        };
        packed.put(position);
        Ok(())
    }

    #[cold]
    fn pack_waiting(&self, value: &T, wait: Wait) -> Result<Packed<'_>, Reason> {
        self.wait_for(wait, || match codec::pack(&self.end.ring, value) {
            Ok(packed) => Found::Claimed(Ok(packed)),
            Err(PackError::Failed(reason)) => Found::Claimed(Err(reason)),
            Err(PackError::NoBlock) => Found::Busy(None),
        })?
    }

    #[cold]
    fn wait_for<V>(&self, wait: Wait, look: impl FnMut() -> Found<V>) -> Result<V, Reason> {
        match wait {
            Wait::Until(deadline) => self.end.wait(deadline, look),
            Wait::Now => Err(Reason::Full),
        }
    }
}

impl<T> Sender<T> {
    /// Returns the current number of messages in the channel.
    ///
    /// ```
    /// let (sender, _receiver) = trine::ipc::channel(8)?;
    /// sender.send(7)?;
    /// assert_eq!((sender.len(), sender.capacity()), (1, 8));
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
    /// let (sender, _receiver) = trine::ipc::channel::<u64>(8)?;
    /// assert_eq!(sender.capacity(), 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn capacity(&self) -> usize {
        self.end.ring.layout.capacity
    }

    /// Returns the size limit of an encoded message in bytes.
    ///
    /// ```
    /// let (sender, _receiver) = trine::ipc::channel_with::<u64>(8, 100)?;
    /// assert_eq!(sender.max_message_bytes(), 100);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn max_message_bytes(&self) -> usize {
        self.end.ring.layout.max_message
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        Sender { end: Arc::clone(&self.end), messages: PhantomData }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.end.fmt_as("Sender", f)
    }
}
