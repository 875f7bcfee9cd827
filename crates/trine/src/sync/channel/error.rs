//! The errors of sending and receiving. Each error of a send hands the value back.

use std::error::Error;
use std::fmt;

use crate::task::Interrupted;

/// The error of a [`send`](super::Sender::send); holds the value.
///
/// ```
/// use trine::sync::channel;
///
/// let (sender, receiver) = channel::unbounded();
/// drop(receiver);
/// let error = sender.send("unsent").unwrap_err();
/// assert!(error.is_disconnected() && error.interrupted().is_none());
/// assert_eq!(error.into_inner(), "unsent");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<T> {
    /// No receiver is left.
    Disconnected(T),
    /// The task was cancelled while it waited, or its deadline has passed.
    Interrupted(T, Interrupted),
}

/// The error of a [`try_send`](super::Sender::try_send); holds the value.
///
/// ```
/// use trine::sync::channel::{self, TrySendError};
///
/// let (sender, receiver) = channel::bounded(0);
/// assert_eq!(sender.try_send(1), Err(TrySendError::Full(1)));
/// drop(receiver);
/// assert_eq!(sender.try_send(1).unwrap_err().into_inner(), 1);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room; at a rendezvous, no receiver waits.
    Full(T),
    /// No receiver is left.
    Disconnected(T),
}

/// The error of a [`send_timeout`](super::Sender::send_timeout); holds the value.
///
/// ```
/// use std::time::Duration;
/// use trine::sync::channel;
///
/// let (sender, receiver) = channel::rendezvous();
/// let error = sender.send_timeout(5, Duration::from_millis(1)).unwrap_err();
/// assert!(error.is_timeout() && error.into_inner() == 5);
/// # drop(receiver);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendTimeoutError<T> {
    /// There was no room in time.
    Timeout(T),
    /// No receiver is left.
    Disconnected(T),
    /// The task was cancelled while it waited, or its deadline has passed.
    Interrupted(T, Interrupted),
}

/// The error of a [`recv`](super::Receiver::recv), which got no message.
///
/// ```
/// use trine::sync::channel;
///
/// let (sender, receiver) = channel::unbounded::<u32>();
/// drop(sender);
/// assert!(receiver.recv().unwrap_err().is_disconnected());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// The channel is empty and no sender is left.
    Disconnected,
    /// The task was cancelled while it waited, or its deadline has passed.
    Interrupted(Interrupted),
}

/// The error of a [`try_recv`](super::Receiver::try_recv), which got no message.
///
/// ```
/// use trine::sync::channel;
///
/// let (sender, receiver) = channel::unbounded::<u32>();
/// assert!(receiver.try_recv().unwrap_err().is_empty());
/// drop(sender);
/// assert!(receiver.try_recv().unwrap_err().is_disconnected());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is no message at the moment.
    Empty,
    /// The channel is empty and no sender is left.
    Disconnected,
}

/// The error of a [`recv_timeout`](super::Receiver::recv_timeout), which got no message.
///
/// ```
/// use std::time::Duration;
/// use trine::sync::channel;
///
/// let (sender, receiver) = channel::unbounded::<u32>();
/// assert!(receiver.recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
/// # drop(sender);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// There was no message in time.
    Timeout,
    /// The channel is empty and no sender is left.
    Disconnected,
    /// The task was cancelled while it waited, or its deadline has passed.
    Interrupted(Interrupted),
}

impl<T> SendError<T> {
    /// Returns the value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Disconnected(value) | SendError::Interrupted(value, _) => value,
        }
    }

    /// Returns true if no receiver is left.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, SendError::Disconnected(_))
    }

    /// Returns the interruption that ended the wait, if there was one.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        match self {
            SendError::Interrupted(_, interrupted) => Some(interrupted),
            SendError::Disconnected(_) => None,
        }
    }
}

impl<T> TrySendError<T> {
    /// Returns the value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(value) | TrySendError::Disconnected(value) => value,
        }
    }

    /// Returns true if there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, TrySendError::Full(_))
    }

    /// Returns true if no receiver is left.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TrySendError::Disconnected(_))
    }
}

impl<T> SendTimeoutError<T> {
    /// Returns the value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            SendTimeoutError::Timeout(value)
            | SendTimeoutError::Disconnected(value)
            | SendTimeoutError::Interrupted(value, _) => value,
        }
    }

    /// Returns true if the time limit of the call has passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, SendTimeoutError::Timeout(_))
    }

    /// Returns true if no receiver is left.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, SendTimeoutError::Disconnected(_))
    }

    /// Returns the interruption that ended the wait, if there was one.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        match self {
            SendTimeoutError::Interrupted(_, interrupted) => Some(interrupted),
            _ => None,
        }
    }
}

impl RecvError {
    /// Returns true if the channel is permanently empty.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, RecvError::Disconnected)
    }

    /// Returns the interruption that ended the wait, if there was one.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        match self {
            RecvError::Interrupted(interrupted) => Some(interrupted),
            RecvError::Disconnected => None,
        }
    }
}

impl TryRecvError {
    /// Returns true if there was no message, but may be one later.
    pub fn is_empty(&self) -> bool {
        matches!(self, TryRecvError::Empty)
    }

    /// Returns true if the channel is permanently empty.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TryRecvError::Disconnected)
    }
}

impl RecvTimeoutError {
    /// Returns true if the time limit of the call has passed.
    pub fn is_timeout(&self) -> bool {
        matches!(self, RecvTimeoutError::Timeout)
    }

    /// Returns true if the channel is permanently empty.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, RecvTimeoutError::Disconnected)
    }

    /// Returns the interruption that ended the wait, if there was one.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        match self {
            RecvTimeoutError::Interrupted(interrupted) => Some(interrupted),
            _ => None,
        }
    }
}

const NO_RECEIVER: &str = "the channel has no receiver any more";
const NO_SENDER: &str = "the channel is empty and has no sender any more";

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Disconnected(_) => f.write_str(NO_RECEIVER),
            SendError::Interrupted(_, interrupted) => write!(f, "sending: {interrupted}"),
        }
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrySendError::Full(_) => f.write_str("the channel has no room"),
            TrySendError::Disconnected(_) => f.write_str(NO_RECEIVER),
        }
    }
}

impl<T> fmt::Display for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendTimeoutError::Timeout(_) => f.write_str("the channel had no room in time"),
            SendTimeoutError::Disconnected(_) => f.write_str(NO_RECEIVER),
            SendTimeoutError::Interrupted(_, interrupted) => write!(f, "sending: {interrupted}"),
        }
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Disconnected => f.write_str(NO_SENDER),
            RecvError::Interrupted(interrupted) => write!(f, "receiving: {interrupted}"),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRecvError::Empty => "the channel is empty",
            TryRecvError::Disconnected => NO_SENDER,
        })
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvTimeoutError::Timeout => f.write_str("the channel had no message in time"),
            RecvTimeoutError::Disconnected => f.write_str(NO_SENDER),
            RecvTimeoutError::Interrupted(interrupted) => write!(f, "receiving: {interrupted}"),
        }
    }
}

/// Omits the value, which need not be `Debug`.
impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Disconnected(_) => f.write_str("Disconnected(..)"),
            SendError::Interrupted(_, interrupted) => {
                f.debug_tuple("Interrupted").field(&format_args!("..")).field(interrupted).finish()
            }
        }
    }
}

/// Omits the value, which need not be `Debug`.
impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

/// Omits the value, which need not be `Debug`.
impl<T> fmt::Debug for SendTimeoutError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendTimeoutError::Timeout(_) => f.write_str("Timeout(..)"),
            SendTimeoutError::Disconnected(_) => f.write_str("Disconnected(..)"),
            SendTimeoutError::Interrupted(_, interrupted) => {
                f.debug_tuple("Interrupted").field(&format_args!("..")).field(interrupted).finish()
            }
        }
    }
}

impl<T> Error for SendError<T> {}
impl<T> Error for TrySendError<T> {}
impl<T> Error for SendTimeoutError<T> {}
impl Error for RecvError {}
impl Error for TryRecvError {}
impl Error for RecvTimeoutError {}
