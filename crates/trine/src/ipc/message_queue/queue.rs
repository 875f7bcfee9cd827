//! A message queue: sending, receiving, and their errors.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use crate::ipc::name;
use crate::reactor::{Direction, Source};
use crate::sys::io::message_queue::{self as kernel, Capacity, OpenFlags, PRIORITIES};
use crate::task::budget;

/// A queue of messages that any program can open by its name: a POSIX message queue, as
/// `mq_open(3)` of C opens it.
///
/// Messages keep their boundaries. The message of the highest priority is received first; messages
/// of one priority are received in the order in which they were sent. Senders wait while the queue
/// is full, receivers while it is empty, each in its turn. The waits fail with
/// [`Interrupted`](crate::Interrupted) when the task is cancelled.
///
/// A queue and its messages persist until the system shuts down or a program
/// [`unlink`](Self::unlink)s the name and the last handle is closed. By default Linux allows 10
/// messages of 8192 bytes in a queue. A [`pipe`](crate::ipc::pipe()) is faster where names,
/// boundaries and priorities are not needed.
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
/// received.sort(); // the task may have received the first message before the second was sent
/// assert_eq!(received, [(b"first".to_vec(), 0), (b"urgent".to_vec(), 9)]);
/// MessageQueue::unlink(&name)?;
/// # Ok(())
/// # }
/// ```
pub struct MessageQueue {
    pub(super) source: Source,
    pub(super) capacity: Capacity,
    pub(super) name: String,
}

/// Checks the name of a queue.
pub(super) fn checked(name: &str) -> io::Result<(CString, String)> {
    name::checked("message queue", name, 255)
}

impl MessageQueue {
    /// The highest priority of a message.
    pub const MAX_PRIORITY: u32 = PRIORITIES - 1;

    /// Removes the name. Programs that have the queue open keep it; the next one that creates the
    /// name gets a new queue.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// # let name = format!("trine-doc-unlink-{}", std::process::id());
    /// let queue = MessageQueue::create_new(&name, 0o600)?;
    /// MessageQueue::unlink(&name)?;
    /// assert!(MessageQueue::open(&name).is_err());
    /// queue.send(b"still there", 0)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` for an invalid name, with `NotFound`, and with `PermissionDenied`
    /// for another user's queue.
    pub fn unlink(name: impl AsRef<str>) -> io::Result<()> {
        let (name, shown) = checked(name.as_ref())?;
        kernel::unlink(&name).map_err(|error| {
            let flags =
                OpenFlags { access: 0, create: false, exclusive: false, mode: 0, capacity: None };
            kernel::explain(&format!("unlink the message queue {shown}"), &flags, error)
        })
    }

    /// Sends a message, which may be empty, and waits while the queue is full.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// # let name = format!("trine-doc-send-{}", std::process::id());
    /// let queue = MessageQueue::options().max_messages(2).create_new(true).open(&name)?;
    /// # MessageQueue::unlink(&name)?;
    /// queue.send(b"can wait", 0)?;
    /// queue.send(b"urgent", MessageQueue::MAX_PRIORITY)?;
    /// assert_eq!(queue.receive()?.0, b"urgent");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the message is longer than
    /// [`message_size`](Self::message_size), or `priority` higher than
    /// [`MAX_PRIORITY`](Self::MAX_PRIORITY); with `PermissionDenied` if the queue was not opened
    /// for writing; and when the caller is interrupted. Nothing was sent then.
    pub fn send(&self, message: &[u8], priority: u32) -> io::Result<()> {
        self.send_within(message, priority, None)
    }

    /// Sends a message, and waits for room for at most `timeout`.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    ///
    /// # let name = format!("trine-doc-send-timeout-{}", std::process::id());
    /// let queue = MessageQueue::options().max_messages(1).create_new(true).open(&name)?;
    /// # MessageQueue::unlink(&name)?;
    /// queue.send(b"fills it", 0)?;
    /// let error = queue.send_timeout(b"more", 0, Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut`, and as [`send`](Self::send) does.
    pub fn send_timeout(&self, message: &[u8], priority: u32, timeout: Duration) -> io::Result<()> {
        self.send_within(message, priority, Some(timeout))
    }

    /// Sends a message if the queue has room.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// use std::io::ErrorKind;
    ///
    /// # let name = format!("trine-doc-try-send-{}", std::process::id());
    /// let queue = MessageQueue::options().max_messages(1).create_new(true).open(&name)?;
    /// # MessageQueue::unlink(&name)?;
    /// queue.try_send(b"fills it", 0)?;
    /// let error = queue.try_send(b"more", 0).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if the queue is full, and as [`send`](Self::send) does.
    pub fn try_send(&self, message: &[u8], priority: u32) -> io::Result<()> {
        budget::spend();
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

    /// Receives the oldest message of the highest priority, and returns it with its priority. Waits
    /// while the queue is empty.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// # let name = format!("trine-doc-receive-{}", std::process::id());
    /// let queue = MessageQueue::options().max_messages(1).create_new(true).open(&name)?;
    /// # MessageQueue::unlink(&name)?;
    /// queue.send(b"hello", 3)?;
    /// let (message, priority) = queue.receive()?;
    /// assert_eq!((message.as_slice(), priority), (&b"hello"[..], 3));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `PermissionDenied` if the queue was not opened for reading, and when the caller
    /// is interrupted. No message is lost then.
    pub fn receive(&self) -> io::Result<(Vec<u8>, u32)> {
        self.receive_within(None)
    }

    /// Receives a message, and waits for it for at most `timeout`.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    ///
    /// # let name = format!("trine-doc-receive-timeout-{}", std::process::id());
    /// let queue = MessageQueue::options().max_messages(1).create_new(true).open(&name)?;
    /// # MessageQueue::unlink(&name)?;
    /// let error = queue.receive_timeout(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut`, and as [`receive`](Self::receive) does.
    pub fn receive_timeout(&self, timeout: Duration) -> io::Result<(Vec<u8>, u32)> {
        self.receive_within(Some(timeout))
    }

    /// Receives a message if the queue has one.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// use std::io::ErrorKind;
    ///
    /// # let name = format!("trine-doc-try-receive-{}", std::process::id());
    /// let queue = MessageQueue::options().max_messages(1).create_new(true).open(&name)?;
    /// # MessageQueue::unlink(&name)?;
    /// assert_eq!(queue.try_receive().unwrap_err().kind(), ErrorKind::WouldBlock);
    /// queue.send(b"one", 7)?;
    /// assert_eq!(queue.try_receive()?, (b"one".to_vec(), 7));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if the queue is empty, and as [`receive`](Self::receive) does.
    pub fn try_receive(&self) -> io::Result<(Vec<u8>, u32)> {
        budget::spend();
        let received = kernel::receive_vec(self.source.as_fd(), self.capacity.message_size);
        received.map_err(|error| self.explain_receiving(0, error))
    }

    fn receive_within(&self, timeout: Option<Duration>) -> io::Result<(Vec<u8>, u32)> {
        let most = self.capacity.message_size;
        let attempt = |queue: &OwnedFd| kernel::receive_vec(queue.as_fd(), most);
        let received = self.source.retry(Direction::Read, timeout, attempt);
        received.map_err(|error| self.explain_receiving(most, error))
    }

    /// Receives a message into `buffer`, and returns its length and priority. Waits while the queue
    /// is empty.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// # let name = format!("trine-doc-receive-into-{}", std::process::id());
    /// let queue = MessageQueue::options().message_size(16).create_new(true).open(&name)?;
    /// # MessageQueue::unlink(&name)?;
    /// queue.send(b"short", 0)?;
    /// let mut buffer = [0; 16];
    /// let (length, _priority) = queue.receive_into(&mut buffer)?;
    /// assert_eq!(&buffer[..length], b"short");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the buffer is shorter than
    /// [`message_size`](Self::message_size), and as [`receive`](Self::receive) does.
    pub fn receive_into(&self, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
        let len = buffer.len();
        let attempt = |queue: &OwnedFd| kernel::receive_into(queue.as_fd(), buffer);
        let received = self.source.retry(Direction::Read, None, attempt);
        received.map_err(|error| self.explain_receiving(len, error))
    }

    /// Returns the number of messages that the queue holds at most.
    pub fn max_messages(&self) -> usize {
        self.capacity.messages
    }

    /// Returns the length in bytes that a message has at most.
    pub fn message_size(&self) -> usize {
        self.capacity.message_size
    }

    /// Returns the number of messages that are in the queue now.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// # let name = format!("trine-doc-len-{}", std::process::id());
    /// let queue = MessageQueue::options().max_messages(2).create_new(true).open(&name)?;
    /// # MessageQueue::unlink(&name)?;
    /// queue.send(b"", 0)?;
    /// assert_eq!((queue.len()?, queue.max_messages()), (1, 2));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the queue's descriptor was closed by other means.
    pub fn len(&self) -> io::Result<usize> {
        kernel::status(self.source.as_fd()).map(|(_, messages)| messages)
    }

    /// Returns true if no message is in the queue now.
    ///
    /// # Errors
    ///
    /// Fails as [`len`](Self::len) does.
    pub fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|messages| messages == 0)
    }

    /// Creates a second handle of the queue. Each message goes to one of the handles.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn try_clone(&self) -> io::Result<MessageQueue> {
        let source = Source::of_nonblocking(self.source.get().try_clone()?);
        Ok(MessageQueue { source, capacity: self.capacity, name: self.name.clone() })
    }

    #[cold]
    fn explain_sending(&self, message: &[u8], priority: u32, error: io::Error) -> io::Error {
        let (name, most) = (&self.name, self.capacity.message_size);
        if priority > MessageQueue::MAX_PRIORITY {
            let text = format!(
                "{priority} is not a valid priority: the highest is {}",
                Self::MAX_PRIORITY
            );
            return io::Error::new(io::ErrorKind::InvalidInput, text);
        }
        if kernel::is_too_long(&error) {
            let len = message.len();
            let text = format!(
                "a message of {len} bytes is too long for the message queue {name}, which was \
                 created for messages of at most {most}"
            );
            return io::Error::new(io::ErrorKind::InvalidInput, text);
        }
        self.explain("write", error)
    }

    #[cold]
    fn explain_receiving(&self, len: usize, error: io::Error) -> io::Error {
        if kernel::is_too_long(&error) {
            let (name, most) = (&self.name, self.capacity.message_size);
            let text = format!(
                "a buffer of {len} bytes is too short for the message queue {name}, whose \
                 messages may have {most}"
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
            .field("max_messages", &self.capacity.messages)
            .field("message_size", &self.capacity.message_size)
            .finish_non_exhaustive()
    }
}

/// The queue's descriptor, for example for `poll(2)`.
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
