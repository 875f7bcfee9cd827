//! Opening a message queue.

use std::io;
use std::os::fd::AsFd;

use super::queue::{MessageQueue, checked};
use crate::reactor::Source;
use crate::sys::io::file::flags;
use crate::sys::io::message_queue::{self as kernel, Capacity, OpenFlags};
use crate::sys::io::owner::Named;

/// Options for opening a [`MessageQueue`]: its access, and its size and permissions if it is
/// created.
///
/// ```
/// use trine::ipc::MessageQueue;
///
/// # let name = format!("trine-doc-options-{}", std::process::id());
/// let queue = MessageQueue::options()
///     .max_messages(4)
///     .message_size(64)
///     .mode(0o600)
///     .create_new(true)
///     .open(&name)?;
/// # MessageQueue::unlink(&name)?;
/// assert_eq!((queue.max_messages(), queue.message_size()), (4, 64));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is opened before `open`"]
// A flag for each method that std's options have, too.
#[allow(clippy::struct_excessive_bools)]
pub struct MessageQueueOptions {
    read: bool,
    write: bool,
    create: bool,
    create_new: bool,
    mode: u32,
    max_messages: Option<usize>,
    message_size: Option<usize>,
    any_owner: bool,
}

impl MessageQueueOptions {
    pub(super) fn new() -> MessageQueueOptions {
        MessageQueueOptions {
            read: true,
            write: true,
            create: false,
            create_new: false,
            mode: 0o600,
            max_messages: None,
            message_size: None,
            any_owner: false,
        }
    }

    /// Opens the queue for receiving; true by default.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// use std::io::ErrorKind;
    ///
    /// # let name = format!("trine-doc-read-{}", std::process::id());
    /// let options = MessageQueue::options().read(false).max_messages(1);
    /// let queue = options.create_new(true).open(&name)?;
    /// # MessageQueue::unlink(&name)?;
    /// assert_eq!(queue.receive().unwrap_err().kind(), ErrorKind::PermissionDenied);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn read(mut self, read: bool) -> MessageQueueOptions {
        self.read = read;
        self
    }

    /// Opens the queue for sending; true by default.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// use std::io::ErrorKind;
    ///
    /// # let name = format!("trine-doc-write-{}", std::process::id());
    /// let options = MessageQueue::options().write(false).max_messages(1);
    /// let queue = options.create_new(true).open(&name)?;
    /// # MessageQueue::unlink(&name)?;
    /// assert_eq!(queue.send(b"no", 0).unwrap_err().kind(), ErrorKind::PermissionDenied);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write(mut self, write: bool) -> MessageQueueOptions {
        self.write = write;
        self
    }

    /// Creates the queue if there is none.
    pub fn create(mut self, create: bool) -> MessageQueueOptions {
        self.create = create;
        self
    }

    /// Creates the queue, and fails if there is one; overrides `create`.
    pub fn create_new(mut self, create_new: bool) -> MessageQueueOptions {
        self.create_new = create_new;
        self
    }

    /// Sets the permissions of a queue that is created, less the process's umask; 0o600 by default,
    /// for its user alone.
    pub fn mode(mut self, mode: u32) -> MessageQueueOptions {
        self.mode = mode;
        self
    }

    /// Sets the number of messages in a queue that is created; 10 by default, which is the most
    /// that Linux allows unless `fs.mqueue.msg_max` is raised. An existing queue keeps its own
    /// number.
    pub fn max_messages(mut self, messages: usize) -> MessageQueueOptions {
        self.max_messages = Some(messages);
        self
    }

    /// Sets the size limit in bytes of a message in a queue that is created; 8192 by default, which
    /// is the most that Linux allows unless `fs.mqueue.msgsize_max` is raised. An existing queue
    /// keeps its own limit.
    pub fn message_size(mut self, bytes: usize) -> MessageQueueOptions {
        self.message_size = Some(bytes);
        self
    }

    /// Accepts an existing queue of any user, with any permissions. By default, it must belong to
    /// this process's user or to root.
    ///
    /// Another user can receive what is sent to its queue, and send what is received from it.
    ///
    /// ```
    /// use trine::ipc::MessageQueue;
    ///
    /// # let name = format!("trine-doc-owner-{}", std::process::id());
    /// # let _theirs = MessageQueue::create_new(&name, 0o600)?;
    /// let theirs = MessageQueue::options().any_owner(true).open(&name)?;
    /// # MessageQueue::unlink(&name)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn any_owner(mut self, any_owner: bool) -> MessageQueueOptions {
        self.any_owner = any_owner;
        self
    }

    /// Opens the queue `name`, with or without a leading slash.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: the name is empty, `.` or `..`, longer than 255 bytes, or contains a NUL
    ///   or a slash that does not lead it; neither reading nor writing was requested; the queue
    ///   would have no room; or it would have more messages, or longer ones, than
    ///   `fs.mqueue.msg_max` and `msgsize_max` allow.
    /// - `NotFound`, `AlreadyExists`.
    /// - `PermissionDenied`: its mode does not let this user open it; it belongs to another user,
    ///   who is not root; or it lets other users read or write it whom `mode` would keep out, and
    ///   `create` is set. [`any_owner`](Self::any_owner) accepts the latter two.
    /// - `QuotaExceeded`: there are as many queues as `fs.mqueue.queues_max` allows, or the user's
    ///   queues would take more than RLIMIT_MSGQUEUE.
    /// - `Unsupported`: the kernel has no message queues.
    ///
    /// The text names the requested value, the limit, and how to raise it.
    pub fn open(&self, name: impl AsRef<str>) -> io::Result<MessageQueue> {
        let (name, shown) = checked(name.as_ref())?;
        let invalid = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        let access = match (self.read, self.write) {
            (true, true) => flags::READ_WRITE,
            (true, false) => flags::READ,
            (false, true) => flags::WRITE,
            (false, false) => {
                return invalid("a message queue is opened to read, to write, or both");
            }
        };
        let create = self.create || self.create_new;
        let capacity = self.capacity();
        if capacity.is_some_and(|capacity| capacity.messages == 0 || capacity.message_size == 0) {
            return invalid("a message queue holds at least one message of one byte");
        }
        let flags =
            OpenFlags { access, create, exclusive: self.create_new, mode: self.mode, capacity };
        let queue = kernel::open(&name, &flags).map_err(|error| {
            let what = if create { "create" } else { "open" };
            kernel::explain(&format!("{what} the message queue {shown}"), &flags, error)
        })?;
        if !self.any_owner {
            Named {
                what: &format!("open the message queue {shown}"),
                removal: &format!("mount -t mqueue none DIR; rm DIR{shown}"),
                acceptance: "MessageQueue::options().any_owner(true)",
                mode: create.then_some(self.mode),
            }
            .check(&queue)?;
        }
        let (capacity, _) = kernel::status(queue.as_fd())?;
        Ok(MessageQueue { source: Source::of_nonblocking(queue), capacity, name: shown })
    }

    /// Returns the requested size; `None` leaves both values to the kernel's defaults.
    fn capacity(&self) -> Option<Capacity> {
        (self.max_messages.is_some() || self.message_size.is_some()).then(|| Capacity {
            messages: self.max_messages.unwrap_or(10),
            message_size: self.message_size.unwrap_or(8192),
        })
    }
}

impl MessageQueue {
    /// Opens the queue `name` for sending and receiving. The leading slash that C requires is
    /// optional.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// # use std::io::ErrorKind;
    /// let error = MessageQueue::open("no-such-queue").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::NotFound);
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`MessageQueueOptions::open`] does.
    pub fn open(name: impl AsRef<str>) -> io::Result<MessageQueue> {
        MessageQueue::options().open(name)
    }

    /// Opens the queue `name`, or creates it: for 10 messages of 8192 bytes, with the permissions
    /// `mode`, less the process's umask.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// # let name = format!("trine-doc-create-{}", std::process::id());
    /// let queue = MessageQueue::create(&name, 0o600)?;
    /// assert!(MessageQueue::create(&name, 0o600)?.is_empty()?); // the same queue
    /// # MessageQueue::unlink(&name)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`MessageQueueOptions::open`] does.
    pub fn create(name: impl AsRef<str>, mode: u32) -> io::Result<MessageQueue> {
        MessageQueue::options().create(true).mode(mode).open(name)
    }

    /// Creates the queue `name`, which must not exist, as [`create`](Self::create) does.
    ///
    /// ```
    /// # use trine::ipc::MessageQueue;
    /// # use std::io::ErrorKind;
    /// # let name = format!("trine-doc-create-new-{}", std::process::id());
    /// let queue = MessageQueue::create_new(&name, 0o600)?;
    /// let error = MessageQueue::create_new(&name, 0o600).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    /// # MessageQueue::unlink(&name)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `AlreadyExists`, and as [`MessageQueueOptions::open`] does.
    pub fn create_new(name: impl AsRef<str>, mode: u32) -> io::Result<MessageQueue> {
        MessageQueue::options().create_new(true).mode(mode).open(name)
    }

    /// Returns options for opening a queue, with their defaults.
    ///
    /// ```
    /// use trine::ipc::MessageQueue;
    ///
    /// let error = MessageQueue::options().read(false).write(false).open("any").unwrap_err();
    /// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    /// ```
    pub fn options() -> MessageQueueOptions {
        MessageQueueOptions::new()
    }
}
