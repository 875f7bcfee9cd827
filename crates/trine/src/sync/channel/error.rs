//! What sending and receiving can fail with. Each error of a send hands the value back.

use std::error::Error;
use std::fmt;

use crate::task::Interrupted;

/// A [`send`](super::Sender::send) that did not take place; holds the value.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError<T> {
    /// No receiver is left.
    Disconnected(T),
    /// The task was cancelled while it waited, or the time around it is up.
    Interrupted(T, Interrupted),
}

/// A [`try_send`](super::Sender::try_send) that did not take place; holds the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// There is no room; at a rendezvous: nobody is receiving.
    Full(T),
    /// No receiver is left.
    Disconnected(T),
}

/// A [`send_timeout`](super::Sender::send_timeout) that did not take place; holds the value.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendTimeoutError<T> {
    /// There was no room in time.
    Timeout(T),
    /// No receiver is left.
    Disconnected(T),
    /// The task was cancelled while it waited, or the time around it is up.
    Interrupted(T, Interrupted),
}

/// A [`recv`](super::Receiver::recv) that got no message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// The channel is empty and no sender is left.
    Disconnected,
    /// The task was cancelled while it waited, or the time around it is up.
    Interrupted(Interrupted),
}

/// A [`try_recv`](super::Receiver::try_recv) that got no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRecvError {
    /// There is no message now.
    Empty,
    /// The channel is empty and no sender is left.
    Disconnected,
}

/// A [`recv_timeout`](super::Receiver::recv_timeout) that got no message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// There was no message in time.
    Timeout,
    /// The channel is empty and no sender is left.
    Disconnected,
    /// The task was cancelled while it waited, or the time around it is up.
    Interrupted(Interrupted),
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            SendError::Disconnected(value) | SendError::Interrupted(value, _) => value,
        }
    }

    /// Whether no receiver is left.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, SendError::Disconnected(_))
    }

    /// What ended the wait from outside, if that was it.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        match self {
            SendError::Interrupted(_, interrupted) => Some(interrupted),
            SendError::Disconnected(_) => None,
        }
    }
}

impl<T> TrySendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            TrySendError::Full(value) | TrySendError::Disconnected(value) => value,
        }
    }

    /// Whether there was no room.
    pub fn is_full(&self) -> bool {
        matches!(self, TrySendError::Full(_))
    }

    /// Whether no receiver is left.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TrySendError::Disconnected(_))
    }
}

impl<T> SendTimeoutError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        match self {
            SendTimeoutError::Timeout(value)
            | SendTimeoutError::Disconnected(value)
            | SendTimeoutError::Interrupted(value, _) => value,
        }
    }

    /// Whether the call's own time was up.
    pub fn is_timeout(&self) -> bool {
        matches!(self, SendTimeoutError::Timeout(_))
    }

    /// Whether no receiver is left.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, SendTimeoutError::Disconnected(_))
    }

    /// What ended the wait from outside, if that was it.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        match self {
            SendTimeoutError::Interrupted(_, interrupted) => Some(interrupted),
            _ => None,
        }
    }
}

impl RecvError {
    /// Whether the channel is empty for good.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, RecvError::Disconnected)
    }

    /// What ended the wait from outside, if that was it.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        match self {
            RecvError::Interrupted(interrupted) => Some(interrupted),
            RecvError::Disconnected => None,
        }
    }
}

impl TryRecvError {
    /// Whether there was no message, but may be one later.
    pub fn is_empty(&self) -> bool {
        matches!(self, TryRecvError::Empty)
    }

    /// Whether the channel is empty for good.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, TryRecvError::Disconnected)
    }
}

impl RecvTimeoutError {
    /// Whether the call's own time was up.
    pub fn is_timeout(&self) -> bool {
        matches!(self, RecvTimeoutError::Timeout)
    }

    /// Whether the channel is empty for good.
    pub fn is_disconnected(&self) -> bool {
        matches!(self, RecvTimeoutError::Disconnected)
    }

    /// What ended the wait from outside, if that was it.
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

/// The value itself is not shown: it need not be `Debug`.
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

/// The value itself is not shown: it need not be `Debug`.
impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrySendError::Full(_) => "Full(..)",
            TrySendError::Disconnected(_) => "Disconnected(..)",
        })
    }
}

/// The value itself is not shown: it need not be `Debug`.
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
