//! POSIX message queues (`mq_overview(7)`), through system calls: a queue is a descriptor.

use std::ffi::{CStr, c_long};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use crate::sys::limits::{self, rlimit};

/// The number of priorities; each is below it (`MQ_PRIO_MAX`).
pub(crate) const PRIORITIES: u32 = 32_768;

/// The capacity of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// The most messages in it.
    pub(crate) messages: usize,
    /// The most bytes of one message.
    pub(crate) message_size: usize,
}

/// The flags and the mode of `mq_open(3)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFlags {
    pub(crate) access: i32,
    pub(crate) create: bool,
    pub(crate) exclusive: bool,
    pub(crate) mode: u32,
    /// The capacity of a new queue; `None` for the system's default.
    pub(crate) capacity: Option<Capacity>,
}

/// Opens the queue `name`, which has no slash. Calls on it do not sleep.
///
/// # Errors
///
/// The kernel's; see [`explain`].
pub(crate) fn open(name: &CStr, flags: &OpenFlags) -> io::Result<OwnedFd> {
    let mut bits = flags.access | libc::O_NONBLOCK | libc::O_CLOEXEC;
    bits |= if flags.create { libc::O_CREAT } else { 0 };
    bits |= if flags.exclusive { libc::O_EXCL } else { 0 };
    let attributes = flags.capacity.map(|capacity| {
        let mut attributes = no_attributes();
        attributes.mq_maxmsg = long(capacity.messages);
        attributes.mq_msgsize = long(capacity.message_size);
        attributes
    });
    let attributes = attributes.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the name ends with NUL, and the attributes are valid or null; the kernel reads both.
    let number =
        unsafe { libc::syscall(libc::SYS_mq_open, name.as_ptr(), bits, flags.mode, attributes) };
    let number = i32::try_from(answer(number)?).expect("a descriptor");
    // SAFETY: the kernel has just made the descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Removes the name of a queue.
pub(crate) fn unlink(name: &CStr) -> io::Result<()> {
    // SAFETY: the name ends with NUL; the kernel only reads it.
    answer(unsafe { libc::syscall(libc::SYS_mq_unlink, name.as_ptr()) }).map(drop)
}

/// Attempts to send; never sleeps.
pub(crate) fn send(queue: BorrowedFd<'_>, message: &[u8], priority: u32) -> io::Result<()> {
    let timeout = ptr::null::<libc::timespec>();
    // SAFETY: the kernel reads the bytes of the message; a null timeout means none.
    let sent = unsafe {
        let (bytes, len) = (message.as_ptr(), message.len());
        libc::syscall(libc::SYS_mq_timedsend, queue.as_raw_fd(), bytes, len, priority, timeout)
    };
    answer(sent).map(drop)
}

/// Attempts to receive a message; never sleeps. Returns its length and its priority.
pub(crate) fn receive(
    queue: BorrowedFd<'_>,
    buffer: &mut [MaybeUninit<u8>],
) -> io::Result<(usize, u32)> {
    let timeout = ptr::null::<libc::timespec>();
    let mut priority = 0_u32;
    // SAFETY: the kernel writes into the buffer, which is borrowed exclusively, and the priority.
    let received = unsafe {
        libc::syscall(
            libc::SYS_mq_timedreceive,
            queue.as_raw_fd(),
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut priority,
            timeout,
        )
    };
    let count = usize::try_from(answer(received)?).unwrap_or_default();
    Ok((count, priority))
}

/// Like [`receive`], for a message of at most `most` bytes.
pub(crate) fn receive_vec(queue: BorrowedFd<'_>, most: usize) -> io::Result<(Vec<u8>, u32)> {
    let mut message = Vec::with_capacity(most);
    let (count, priority) = receive(queue, message.spare_capacity_mut())?;
    // SAFETY: the kernel has written the first `count` bytes.
    unsafe { message.set_len(count) };
    Ok((message, priority))
}

/// Like [`receive`], into initialised bytes.
pub(crate) fn receive_into(queue: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, u32)> {
    let (pointer, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the same memory; the kernel writes only initialised bytes to it.
    receive(queue, unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

/// Returns the capacity of a queue, and how many messages are in it.
pub(crate) fn status(queue: BorrowedFd<'_>) -> io::Result<(Capacity, usize)> {
    let mut found = no_attributes();
    let nothing_new = ptr::null::<libc::mq_attr>();
    let number = queue.as_raw_fd();
    // SAFETY: the kernel writes a structure of that type.
    answer(unsafe { libc::syscall(libc::SYS_mq_getsetattr, number, nothing_new, &raw mut found) })?;
    let count = |number: c_long| usize::try_from(number).unwrap_or_default();
    let capacity =
        Capacity { messages: count(found.mq_maxmsg), message_size: count(found.mq_msgsize) };
    Ok((capacity, count(found.mq_curmsgs)))
}

fn no_attributes() -> libc::mq_attr {
    // SAFETY: all-zero is valid for a plain C struct of integers.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Converts a number; one that the kernel cannot represent is more than it allows.
fn long(number: usize) -> c_long {
    c_long::try_from(number).unwrap_or(c_long::MAX)
}

fn answer(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Returns true if a queue, or the caller's buffer, is too small for a message.
pub(crate) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// Returns true if the queue was not opened for such a call.
pub(crate) fn is_not_open_for_it(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADF)
}

/// Explains why `what` ("open the message queue /x") was refused: the limit that was met, what was
/// requested, the limit's value, and how to raise it.
#[cold]
pub(crate) fn explain(what: &str, flags: &OpenFlags, error: io::Error) -> io::Error {
    let number = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/fs/mqueue/{name}")).ok()?;
        text.trim().parse::<usize>().ok()
    };
    let shown = |limit: Option<usize>| limit.map_or("unknown".into(), |limit| limit.to_string());
    let (kind, why) = match error.raw_os_error() {
        Some(libc::EINVAL | libc::EOVERFLOW) if flags.create => {
            let why = beyond(flags.capacity, number("msg_max"), number("msgsize_max"));
            (io::ErrorKind::InvalidInput, why)
        }
        Some(libc::ENOSPC) => {
            let why = format!(
                "the system has all the queues that fs.mqueue.queues_max allows ({}): remove those \
                 that are not needed (`mount -t mqueue none DIR` shows them), or raise it with \
                 `sysctl fs.mqueue.queues_max=N`",
                shown(number("queues_max"))
            );
            (io::ErrorKind::QuotaExceeded, why)
        }
        // Two limits give this error, and only one of them also stops other descriptors.
        Some(libc::EMFILE) if flags.create && rlimit::has_descriptor_left() => {
            let capacity = flags.capacity.unwrap_or_else(|| Capacity {
                messages: number("msg_default").unwrap_or(10),
                message_size: number("msgsize_default").unwrap_or(8192),
            });
            let why = format!(
                "its {} messages of {} bytes take {} bytes, more than is left of the {} that \
                 RLIMIT_MSGQUEUE (`ulimit -q`) allows this user in all queues: ask for fewer or \
                 smaller messages, remove queues that are not needed, or raise the limit \
                 (`LimitMSGQUEUE=` of systemd)",
                capacity.messages,
                capacity.message_size,
                capacity.bytes(),
                rlimit::message_queue_bytes().map_or("unlimited".into(), |limit| limit.to_string())
            );
            (io::ErrorKind::QuotaExceeded, why)
        }
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM) => {
            (error.kind(), limits::explain_missing("descriptor", &error))
        }
        Some(libc::EACCES) => {
            let why =
                "its mode, which its creator has given it, does not let this user do so".into();
            (io::ErrorKind::PermissionDenied, why)
        }
        Some(libc::ENOENT) => (io::ErrorKind::NotFound, "there is none of this name".into()),
        Some(libc::EEXIST) => {
            (io::ErrorKind::AlreadyExists, "there is one of this name already".into())
        }
        Some(libc::ENOSYS) => {
            let why = "this kernel was built without POSIX message queues (CONFIG_POSIX_MQUEUE), \
                       or a sandbox forbids them";
            (io::ErrorKind::Unsupported, why.into())
        }
        _ => (error.kind(), error.to_string()),
    };
    io::Error::new(kind, format!("cannot {what}: {why}"))
}

/// Explains which part of `capacity` exceeds the system's limits.
fn beyond(capacity: Option<Capacity>, most: Option<usize>, longest: Option<usize>) -> String {
    // The limits of a privileged process (`HARD_MSGMAX`, `HARD_MSGSIZEMAX` of the kernel).
    let (most_ever, longest_ever) = (65_536, 16 << 20);
    let Some(capacity) = capacity else { return "the kernel refuses its own defaults".into() };
    let mut why = Vec::new();
    if capacity.messages > most.unwrap_or(most_ever) {
        why.push(format!(
            "{} messages are more than fs.mqueue.msg_max allows ({}): ask for fewer, or raise it \
             with `sysctl fs.mqueue.msg_max={}` (at most {most_ever})",
            capacity.messages,
            most.map_or("unknown".into(), |most| most.to_string()),
            capacity.messages
        ));
    }
    if capacity.message_size > longest.unwrap_or(longest_ever) {
        why.push(format!(
            "messages of {} bytes are longer than fs.mqueue.msgsize_max allows ({}): ask for \
             shorter ones, or raise it with `sysctl fs.mqueue.msgsize_max={}` (at most \
             {longest_ever})",
            capacity.message_size,
            longest.map_or("unknown".into(), |longest| longest.to_string()),
            capacity.message_size
        ));
    }
    if why.is_empty() {
        why.push(format!("{} messages of {} bytes", capacity.messages, capacity.message_size));
    }
    why.join("; ")
}

impl Capacity {
    /// Returns what the kernel counts against RLIMIT_MSGQUEUE: the messages, and 48 bytes for each
    /// message and for each priority that they can have (Linux 3.5 and newer).
    fn bytes(self) -> u64 {
        let messages = self.messages as u64;
        let nodes = messages + messages.min(PRIORITIES.into());
        messages.saturating_mul(self.message_size as u64).saturating_add(48 * nodes)
    }
}
