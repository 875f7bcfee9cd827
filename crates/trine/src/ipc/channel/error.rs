//! What can go wrong with a channel between processes.

use std::error::Error;
use std::fmt;
use std::io;

use crate::sys::memory::memfd::Unfit;
use crate::task::Interrupted;

use super::layout::Strange;

/// Why nothing was sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody is left on the other side, in any process; of a receive: and no message either.
    Disconnected,
    /// A `try_send` found no room.
    Full,
    /// A `try_recv` found no message.
    Empty,
    /// The call's own time was up.
    TimedOut,
    /// The task was cancelled while it waited, or the time around it is up.
    Interrupted(Interrupted),
    /// The encoded message is longer than the channel carries.
    TooLarge {
        /// Most bytes of a message, as given to [`channel_with`](super::channel_with).
        most: usize,
    },
    /// The message could not be encoded, or what has arrived is no message of this type.
    Codec(String),
    /// Another process has written nonsense into the channel's memory.
    Broken(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Disconnected => f.write_str("nobody is left on its other side"),
            Reason::Full => f.write_str("it is full"),
            Reason::Empty => f.write_str("it is empty"),
            Reason::TimedOut => f.write_str("the time was up"),
            Reason::Interrupted(interrupted) => interrupted.fmt(f),
            Reason::TooLarge { most } => write!(
                f,
                "the message is longer than the {most} bytes that the channel carries: make the channel with \
                 `channel_with` and more of them, or send `Shared` memory"
            ),
            Reason::Codec(text) => write!(f, "the message could not be encoded or decoded: {text}"),
            Reason::Broken(what) => write!(f, "another process has damaged it: {what}"),
        }
    }
}

/// A send that did not take place; holds the value.
#[derive(Clone, PartialEq, Eq)]
pub struct SendError<T> {
    pub(super) value: T,
    pub(super) reason: Reason,
}

/// A receive that got no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecvError {
    pub(super) reason: Reason,
}

impl<T> SendError<T> {
    /// The value that was not sent.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Why it was not sent.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Whether a `try_send` found no room.
    pub fn is_full(&self) -> bool {
        self.reason == Reason::Full
    }

    /// Whether no receiver is left.
    pub fn is_disconnected(&self) -> bool {
        self.reason == Reason::Disconnected
    }

    /// Whether the call's own time was up.
    pub fn is_timeout(&self) -> bool {
        self.reason == Reason::TimedOut
    }

    /// What ended the wait from outside, if that was it.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        self.reason.interrupted()
    }
}

impl RecvError {
    /// Why there is no message.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Whether a `try_recv` found no message, but there may be one later.
    pub fn is_empty(&self) -> bool {
        self.reason == Reason::Empty
    }

    /// Whether the channel is empty and no sender is left.
    pub fn is_disconnected(&self) -> bool {
        self.reason == Reason::Disconnected
    }

    /// Whether the call's own time was up.
    pub fn is_timeout(&self) -> bool {
        self.reason == Reason::TimedOut
    }

    /// What ended the wait from outside, if that was it.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        self.reason.interrupted()
    }
}

impl Reason {
    fn interrupted(&self) -> Option<&Interrupted> {
        match self {
            Reason::Interrupted(interrupted) => Some(interrupted),
            _ => None,
        }
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sending through a channel: {}", self.reason)
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "receiving from a channel: {}", self.reason)
    }
}

/// The value itself is not shown: it need not be `Debug`.
impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<T> Error for SendError<T> {}
impl Error for RecvError {}

/// Why descriptors are not the wanted end of a channel.
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// They are of another kind than a channel's, or its memory is not sealed.
    NotAChannel(&'static str),
    /// It is the end of the other side: a receiver's, not a sender's, or the other way round.
    OtherSide,
    /// It is the channel of another build of this library.
    OtherBuild,
    /// It carries messages of another type, or of another build of the program that defines it.
    OtherType,
    /// The system refused: no descriptor or memory left, no `/proc`.
    Io(io::Error),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::NotAChannel(why) => write!(f, "it is no end of a channel: {why}"),
            AttachError::OtherSide => f.write_str("it is the end of the channel's other side"),
            AttachError::OtherBuild => {
                f.write_str("it is a channel of another build of trine, with another layout of its memory")
            }
            AttachError::OtherType => f.write_str(
                "its messages are of another type, or of another build of the program: both sides name \
                 the type alike and have it of one size",
            ),
            AttachError::Io(error) => error.fmt(f),
        }
    }
}

impl Error for AttachError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AttachError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for AttachError {
    fn from(error: io::Error) -> AttachError {
        AttachError::Io(error)
    }
}

impl From<AttachError> for io::Error {
    fn from(error: AttachError) -> io::Error {
        match error {
            AttachError::Io(error) => error,
            error => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}

impl From<Strange> for AttachError {
    fn from(strange: Strange) -> AttachError {
        match strange {
            Strange::Memory => AttachError::NotAChannel("its memory holds something else"),
            Strange::Build => AttachError::OtherBuild,
            Strange::Type => AttachError::OtherType,
        }
    }
}

impl From<Unfit> for AttachError {
    fn from(unfit: Unfit) -> AttachError {
        AttachError::NotAChannel(match unfit {
            Unfit::NotMemory => "it is not memory that can be shared (a memfd)",
            Unfit::Unsealed(_) => "its memory is not sealed, so its size could change under us",
            Unfit::System(error) => return AttachError::Io(error),
        })
    }
}
