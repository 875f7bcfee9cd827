//! Errors of channels between processes.

use std::error::Error;
use std::fmt;
use std::io;

use crate::sys::memory::memfd::Unfit;
use crate::task::Interrupted;

use super::layout::Mismatch;

/// The reason why nothing was sent or received.
///
/// ```
/// use trine::ipc::channel::Reason;
///
/// let (sender, _receiver) = trine::ipc::channel_with::<String>(1, 8)?;
/// let error = sender.send("longer than that".into()).unwrap_err();
/// assert_eq!(error.reason(), &Reason::TooLarge { most: 8 });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// No end is left on the other side, in any process; for a receive, no message is left either.
    Disconnected,
    /// A `try_send` found no room.
    Full,
    /// A `try_recv` found no message.
    Empty,
    /// The timeout of the call was over.
    TimedOut,
    /// The task was cancelled while it waited, or reached its deadline.
    Interrupted(Interrupted),
    /// The encoded message is longer than the channel allows.
    TooLarge {
        /// Size limit of a message in bytes, as given to [`channel_with`](super::channel_with).
        most: usize,
    },
    /// The message could not be encoded, or the received bytes are no message of this type.
    Codec(String),
    /// Another process has corrupted the channel's memory.
    Broken(&'static str),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Disconnected => f.write_str("no end is left on its other side"),
            Reason::Full => f.write_str("it is full"),
            Reason::Empty => f.write_str("it is empty"),
            Reason::TimedOut => f.write_str("the timeout was over"),
            Reason::Interrupted(interrupted) => interrupted.fmt(f),
            Reason::TooLarge { most } => write!(
                f,
                "the message is longer than the {most} bytes that the channel allows: create the \
                 channel with `channel_with` and a higher limit, or send `Shared` memory"
            ),
            Reason::Codec(text) => write!(f, "the message could not be encoded or decoded: {text}"),
            Reason::Broken(what) => write!(f, "another process has corrupted it: {what}"),
        }
    }
}

/// A send that failed. It holds the value.
///
/// ```
/// let (sender, receiver) = trine::ipc::channel(1)?;
/// drop(receiver);
/// let error = sender.send(7).unwrap_err();
/// assert!(error.is_disconnected());
/// assert_eq!(error.into_inner(), 7);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SendError<T> {
    pub(super) value: T,
    pub(super) reason: Reason,
}

/// A receive that returned no message.
///
/// ```
/// use trine::ipc::channel::Reason;
///
/// let (sender, receiver) = trine::ipc::channel::<u32>(1)?;
/// let error = receiver.try_recv().unwrap_err();
/// assert!(error.is_empty());
/// assert_eq!(error.reason(), &Reason::Empty);
/// # drop(sender);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecvError {
    pub(super) reason: Reason,
}

impl<T> SendError<T> {
    /// Returns the value that was not sent.
    pub fn into_inner(self) -> T {
        self.value
    }

    /// Returns the reason why it was not sent.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Returns true if a `try_send` found no room.
    pub fn is_full(&self) -> bool {
        self.reason == Reason::Full
    }

    /// Returns true if no receiver is left.
    pub fn is_disconnected(&self) -> bool {
        self.reason == Reason::Disconnected
    }

    /// Returns true if the timeout of the call was over.
    pub fn is_timeout(&self) -> bool {
        self.reason == Reason::TimedOut
    }

    /// Returns the interruption that ended the wait, if one did.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        self.reason.interrupted()
    }
}

impl RecvError {
    /// Returns the reason why there is no message.
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// Returns true if a `try_recv` found no message, which may come later.
    pub fn is_empty(&self) -> bool {
        self.reason == Reason::Empty
    }

    /// Returns true if the channel is empty and no sender is left.
    pub fn is_disconnected(&self) -> bool {
        self.reason == Reason::Disconnected
    }

    /// Returns true if the timeout of the call was over.
    pub fn is_timeout(&self) -> bool {
        self.reason == Reason::TimedOut
    }

    /// Returns the interruption that ended the wait, if one did.
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

/// Leaves out the value, which need not be `Debug`.
impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<T> Error for SendError<T> {}
impl Error for RecvError {}

/// The reason why a descriptor is not the requested end of a channel.
///
/// ```
/// use trine::ipc::{self, channel::{AttachError, Receiver}};
/// use std::os::fd::OwnedFd;
///
/// let (sender, _receiver) = ipc::channel::<u32>(1)?;
/// let descriptor = OwnedFd::try_from(sender)?;
/// let error = Receiver::<u32>::try_from(descriptor).unwrap_err();
/// assert!(matches!(error, AttachError::OtherSide));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// The descriptors are of another kind than a channel's, or its memory is not sealed.
    NotAChannel(&'static str),
    /// The end is one of the other side: a receiver instead of a sender, or the reverse.
    OtherSide,
    /// The channel belongs to another build of this library.
    OtherBuild,
    /// The channel carries messages of another type, or of another build of the program that
    /// defines it.
    OtherType,
    /// The system refused: no descriptor or memory is left, or there is no `/proc`.
    Io(io::Error),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::NotAChannel(why) => write!(f, "it is not an end of a channel: {why}"),
            AttachError::OtherSide => f.write_str("it is the end of the channel's other side"),
            AttachError::OtherBuild => {
                f.write_str("it is a channel of another build of trine, with another memory layout")
            }
            AttachError::OtherType => f.write_str(
                "its messages are of another type, or of another build of the program: the type \
                 must have the same name and size on both sides",
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

impl From<Mismatch> for AttachError {
    fn from(mismatch: Mismatch) -> AttachError {
        match mismatch {
            Mismatch::Memory => AttachError::NotAChannel("its memory holds something else"),
            Mismatch::Build => AttachError::OtherBuild,
            Mismatch::Type => AttachError::OtherType,
        }
    }
}

impl From<Unfit> for AttachError {
    fn from(unfit: Unfit) -> AttachError {
        AttachError::NotAChannel(match unfit {
            Unfit::NotMemory => "it is not memory that can be shared (a memfd)",
            Unfit::Unsealed(_) => "its memory is not sealed, so its size could change while in use",
            Unfit::System(error) => return AttachError::Io(error),
        })
    }
}
