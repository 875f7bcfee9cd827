//! Descriptors: files, sockets, FIFOs, message queues, `poll`, `epoll` and `io_uring`.

pub(crate) mod fifo;
pub(crate) mod file;
pub(crate) mod message_queue;
pub(crate) mod net;
pub(crate) mod poll;
pub(crate) mod reopen;
pub(crate) mod socket;
pub(crate) mod unix_socket;
pub(crate) mod uring;
