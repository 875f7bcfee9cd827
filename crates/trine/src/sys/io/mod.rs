//! Descriptors: files, sockets, FIFOs, message queues, `poll`, `epoll` and `io_uring`.
//!
//! | file | contents |
//! |---|---|
//! | `file.rs` | opening, reading and writing files, also without sleeping |
//! | `reopen.rs` | opening a file again; locks on bytes; bells between processes |
//! | `socket.rs` | sending and receiving on sockets, descriptors included |
//! | `unix_socket.rs` | making Unix sockets and pipes; the credentials of a peer |
//! | `arrived.rs` | descriptors that another process has sent, and their end |
//! | `net.rs` | Internet sockets |
//! | `fifo.rs` | opening a FIFO without a thread that sleeps |
//! | `message_queue.rs` | POSIX message queues |
//! | `owner.rs` | the owner of an object that has a name |
//! | `poll.rs` | `poll` and `epoll`; bells within a process |
//! | `uring.rs` | `io_uring` |

pub(crate) mod arrived;
pub(crate) mod fifo;
pub(crate) mod file;
pub(crate) mod message_queue;
pub(crate) mod net;
pub(crate) mod owner;
pub(crate) mod poll;
pub(crate) mod reopen;
pub(crate) mod socket;
pub(crate) mod unix_socket;
pub(crate) mod uring;

/// The permission of a call to block its thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocking {
    /// The call sleeps until it can do something.
    Yes,
    /// The call fails with `WouldBlock` instead of sleeping.
    No,
}
