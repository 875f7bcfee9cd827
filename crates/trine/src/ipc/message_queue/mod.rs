//! POSIX message queues.
//!
//! A queue is a descriptor that `poll` and epoll know, so it is waited for as a socket is: the call is attempted, and
//! who is refused waits for readiness. It never blocks in the kernel (`O_NONBLOCK` is the
//! opening's own, so other programs' openings block as they like).

mod options;

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

pub use options::MessageQueueOptions;

use super::name;
use crate::reactor::{Direction, Source};
use crate::sys::io::message_queue::{self as kernel, How, PRIORITIES, Room};

/// A queue of messages that any program can open by its name: a POSIX message queue, as
/// `mq_open(3)` of C gives it.
///
/// Messages keep their bounds. The one of the highest priority is received first, and those of one priority in the
/// order in which they were sent. A full queue makes senders wait, an empty one receivers, each in its
/// turn; the waits end with [`Interrupted`](crate::Interrupted), as an error, when the task is
/// cancelled.
///
/// A queue and its messages stay until the system ends or somebody [`unlink`](Self::unlink)s the name; then until the last
/// program has closed it. Linux lets a queue hold 10 messages of 8192 bytes unless it is told otherwise; a
/// [`pipe`](super::pipe()) is faster where no names, bounds or priorities are needed.
///
/// ```
/// use trine::{coroutine, ipc::MessageQueue};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("trine-doc-queue-{}", std::process::id());
/// let queue = MessageQueue::create(&name, 0o600)?;
///
/// let receiver = MessageQueue::open(&name)?; // any program may
/// let task = coroutine::spawn(move || -> std::io::Result<_> {
///     Ok([receiver.receive()?, receiver.receive()?])
/// });
/// queue.send(b"first", 0)?;
/// queue.send(b"urgent", 9)?;
///
/// let mut received = task.join()??;
/// received.sort(); // who comes in between takes them in turn
/// assert_eq!(received, [(b"first".to_vec(), 0), (b"urgent".to_vec(), 9)]);
/// MessageQueue::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct MessageQueue {
    source: Source,
    room: Room,
    name: String,
}

/// What a queue may be called.
fn checked(name: &str) -> io::Result<(CString, String)> {
    name::checked("message queue", name, 255)
}

impl MessageQueue {
    /// The highest priority that a message can have.
    pub const MAX_PRIORITY: u32 = PRIORITIES - 1;

    /// Opens the queue `name`, to send and to receive. The slash in front that C wants may be left out.
    ///
    /// # Errors
    ///
    /// As [`MessageQueueOptions::open`].
    pub fn open(name: impl AsRef<str>) -> io::Result<MessageQueue> {
        MessageQueue::options().open(name)
    }

    /// As [`open`](Self::open), and creates the queue if there is none: of 10 messages of 8192 bytes, for
    /// those whom `mode` allows.
    ///
    /// # Errors
    ///
    /// As [`MessageQueueOptions::open`].
    pub fn create(name: impl AsRef<str>, mode: u32) -> io::Result<MessageQueue> {
        MessageQueue::options().create(true).mode(mode).open(name)
    }

    /// As [`create`](Self::create), if there is none.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`; else as [`MessageQueueOptions::open`].
    pub fn create_new(name: impl AsRef<str>, mode: u32) -> io::Result<MessageQueue> {
        MessageQueue::options().create_new(true).mode(mode).open(name)
    }

    /// All that can be said about the opening of a queue.
    pub fn options() -> MessageQueueOptions {
        MessageQueueOptions::new()
    }

    /// Removes the name. Who has the queue open keeps it; the next to create the name makes another one.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for what is no name, `NotFound`, `PermissionDenied` for somebody else's queue.
    pub fn unlink(name: impl AsRef<str>) -> io::Result<()> {
        let (name, shown) = checked(name.as_ref())?;
        kernel::unlink(&name).map_err(|error| {
            let how = How { access: 0, create: false, exclusive: false, mode: 0, room: None };
            kernel::explain(&format!("unlink the message queue {shown}"), &how, error)
        })
    }

    /// Sends a message, which may be empty, waiting while the queue is full.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: the message is longer than [`message_size`](Self::message_size), or `priority` higher
    /// than [`MAX_PRIORITY`](Self::MAX_PRIORITY). `PermissionDenied`: the queue was not opened to
    /// write. What interrupts the caller; nothing was sent then.
    pub fn send(&self, message: &[u8], priority: u32) -> io::Result<()> {
        self.send_within(message, priority, None)
    }

    /// As [`send`](Self::send), waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// `TimedOut`; else as `send`.
    pub fn send_timeout(&self, message: &[u8], priority: u32, timeout: Duration) -> io::Result<()> {
        self.send_within(message, priority, Some(timeout))
    }

    /// As [`send`](Self::send), if that needs no wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: the queue is full. Else as `send`.
    pub fn try_send(&self, message: &[u8], priority: u32) -> io::Result<()> {
        let sent = kernel::send(self.source.as_fd(), message, priority);
        sent.map_err(|error| self.explain_sending(message, priority, error))
    }

    fn send_within(
        &self,
        message: &[u8],
        priority: u32,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let attempt = |queue: &OwnedFd| kernel::send(queue.as_fd(), message, priority);
        let sent = self.source.retry(Direction::Write, timeout, attempt);
        sent.map_err(|error| self.explain_sending(message, priority, error))
    }

    /// Receives the oldest message of the highest priority, and that priority; waits while the queue is
    /// empty.
    ///
    /// # Errors
    ///
    /// `PermissionDenied`: the queue was not opened to read. What interrupts the caller; no message is lost
    /// then.
    pub fn receive(&self) -> io::Result<(Vec<u8>, u32)> {
        self.receive_within(None)
    }

    /// As [`receive`](Self::receive), waiting for at most `timeout`.
    ///
    /// # Errors
    ///
    /// `TimedOut`; else as `receive`.
    pub fn receive_timeout(&self, timeout: Duration) -> io::Result<(Vec<u8>, u32)> {
        self.receive_within(Some(timeout))
    }

    /// As [`receive`](Self::receive), if that needs no wait.
    ///
    /// # Errors
    ///
    /// `WouldBlock`: the queue is empty. Else as `receive`.
    pub fn try_receive(&self) -> io::Result<(Vec<u8>, u32)> {
        let received = kernel::receive_vec(self.source.as_fd(), self.room.message_size);
        received.map_err(|error| self.explain_receiving(0, error))
    }

    fn receive_within(&self, timeout: Option<Duration>) -> io::Result<(Vec<u8>, u32)> {
        let most = self.room.message_size;
        let attempt = |queue: &OwnedFd| kernel::receive_vec(queue.as_fd(), most);
        let received = self.source.retry(Direction::Read, timeout, attempt);
        received.map_err(|error| self.explain_receiving(most, error))
    }

    /// As [`receive`](Self::receive), into `buffer`; says how many bytes of it are the message.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: the buffer is shorter than [`message_size`](Self::message_size). Else as `receive`.
    pub fn receive_into(&self, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
        let len = buffer.len();
        let attempt = |queue: &OwnedFd| kernel::receive_into(queue.as_fd(), buffer);
        let received = self.source.retry(Direction::Read, None, attempt);
        received.map_err(|error| self.explain_receiving(len, error))
    }

    /// How many messages the queue holds at most.
    pub fn max_messages(&self) -> usize {
        self.room.messages
    }

    /// How many bytes each message may have.
    pub fn message_size(&self) -> usize {
        self.room.message_size
    }

    /// How many messages are in the queue at the moment.
    ///
    /// # Errors
    ///
    /// If the descriptor was closed behind the queue's back.
    pub fn len(&self) -> io::Result<usize> {
        kernel::look(self.source.as_fd()).map(|(_, messages)| messages)
    }

    /// Whether no message is in the queue at the moment.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|messages| messages == 0)
    }

    /// A second handle of the same queue: each message goes to one of them.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn try_clone(&self) -> io::Result<MessageQueue> {
        let source = Source::of_nonblocking(self.source.get().try_clone()?);
        Ok(MessageQueue { source, room: self.room, name: self.name.clone() })
    }

    #[cold]
    fn explain_sending(&self, message: &[u8], priority: u32, error: io::Error) -> io::Error {
        let (name, most) = (&self.name, self.room.message_size);
        if priority > MessageQueue::MAX_PRIORITY {
            let text = format!(
                "{priority} is no priority of a message: the highest is {}",
                Self::MAX_PRIORITY
            );
            return io::Error::new(io::ErrorKind::InvalidInput, text);
        }
        if kernel::is_too_long(&error) {
            let len = message.len();
            let text = format!(
                "a message of {len} bytes is too long for the message queue {name}, which was created for \
                 messages of at most {most}"
            );
            return io::Error::new(io::ErrorKind::InvalidInput, text);
        }
        self.explain("write", error)
    }

    #[cold]
    fn explain_receiving(&self, len: usize, error: io::Error) -> io::Error {
        if kernel::is_too_long(&error) {
            let (name, most) = (&self.name, self.room.message_size);
            let text = format!(
                "a buffer of {len} bytes is too short for the message queue {name}, whose messages may \
                 have {most}"
            );
            return io::Error::new(io::ErrorKind::InvalidInput, text);
        }
        self.explain("read", error)
    }

    fn explain(&self, access: &str, error: io::Error) -> io::Error {
        if kernel::is_not_open_for_it(&error) {
            let text = format!("the message queue {} was not opened to {access}", self.name);
            return io::Error::new(io::ErrorKind::PermissionDenied, text);
        }
        error
    }
}

impl fmt::Debug for MessageQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageQueue")
            .field("name", &self.name)
            .field("max_messages", &self.room.messages)
            .field("message_size", &self.room.message_size)
            .finish_non_exhaustive()
    }
}

/// For `poll(2)` and the like.
impl AsFd for MessageQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsRawFd for MessageQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}
