//! How a message queue is opened.

use std::io;
use std::os::fd::AsFd;

use super::{MessageQueue, checked};
use crate::reactor::Source;
use crate::sys::io::file::flags;
use crate::sys::io::message_queue::{self as kernel, How, Room};

/// How a [`MessageQueue`] is opened: what it may hold if it is created, and who may use it.
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
// One flag for each of the words that std's options have, too.
#[allow(clippy::struct_excessive_bools)]
pub struct MessageQueueOptions {
    read: bool,
    write: bool,
    create: bool,
    create_new: bool,
    mode: u32,
    max_messages: Option<usize>,
    message_size: Option<usize>,
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
        }
    }

    /// Whether messages will be received; so by default.
    pub fn read(mut self, read: bool) -> MessageQueueOptions {
        self.read = read;
        self
    }

    /// Whether messages will be sent; so by default.
    pub fn write(mut self, write: bool) -> MessageQueueOptions {
        self.write = write;
        self
    }

    /// Whether a queue that is missing is created.
    pub fn create(mut self, create: bool) -> MessageQueueOptions {
        self.create = create;
        self
    }

    /// Whether the queue must be a new one; `create` says nothing then.
    pub fn create_new(mut self, create_new: bool) -> MessageQueueOptions {
        self.create_new = create_new;
        self
    }

    /// Who may open a queue that is created, less the mask of the process; 0o600 by default, its user
    /// alone.
    pub fn mode(mut self, mode: u32) -> MessageQueueOptions {
        self.mode = mode;
        self
    }

    /// How many messages a queue that is created holds; 10 by default, which is what Linux allows
    /// unless `fs.mqueue.msg_max` is changed. One that is there keeps its own number.
    pub fn max_messages(mut self, messages: usize) -> MessageQueueOptions {
        self.max_messages = Some(messages);
        self
    }

    /// How many bytes each message of a queue that is created may have; 8192 by default, which is what Linux
    /// allows unless `fs.mqueue.msgsize_max` is raised. One that is there keeps its own number.
    pub fn message_size(mut self, bytes: usize) -> MessageQueueOptions {
        self.message_size = Some(bytes);
        self
    }

    /// Opens the queue `name`, with or without a slash in front.
    ///
    /// # Errors
    ///
    /// - `InvalidInput`: a name that is empty, `.` or `..`, longer than 255 bytes, or has a slash elsewhere or a NUL; neither to
    ///   be read nor written; no room for any message; more messages, or longer ones, than `fs.mqueue.msg_max` and
    ///   `msgsize_max` allow.
    /// - `NotFound`, `AlreadyExists`, `PermissionDenied`.
    /// - `QuotaExceeded`: as many queues as `fs.mqueue.queues_max` allows are there, or the user's queues
    ///   would take more than RLIMIT_MSGQUEUE.
    /// - `Unsupported`: a kernel without message queues.
    ///
    /// The text says which value was asked for, what the limit is, and how it is raised.
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
        let room = self.room();
        if room.is_some_and(|room| room.messages == 0 || room.message_size == 0) {
            return invalid("a message queue holds at least one message of one byte");
        }
        let how = How { access, create, exclusive: self.create_new, mode: self.mode, room };
        let queue = kernel::open(&name, &how).map_err(|error| {
            let what = if create { "create" } else { "open" };
            kernel::explain(&format!("{what} the message queue {shown}"), &how, error)
        })?;
        let (room, _) = kernel::look(queue.as_fd())?;
        Ok(MessageQueue { source: Source::of_nonblocking(queue), room, name: shown })
    }

    /// What was asked for; if that is nothing, the kernel's own defaults count.
    fn room(&self) -> Option<Room> {
        (self.max_messages.is_some() || self.message_size.is_some()).then(|| Room {
            messages: self.max_messages.unwrap_or(10),
            message_size: self.message_size.unwrap_or(8192),
        })
    }
}
