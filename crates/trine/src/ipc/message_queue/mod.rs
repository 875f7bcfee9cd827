//! POSIX message queues.
//!
//! A queue's descriptor works with `poll` and epoll, so a wait is like a socket's: the call is
//! attempted, and waits for readiness if it is refused. It never blocks in the kernel. `O_NONBLOCK`
//! belongs to the open file description, so the handles of other programs block as they choose.
//!
//! | file | contents |
//! |---|---|
//! | `queue.rs` | [`MessageQueue`]: sending and receiving |
//! | `options.rs` | opening: [`MessageQueueOptions`], [`MessageQueue::open`] |

mod options;
mod queue;

pub use options::MessageQueueOptions;
pub use queue::MessageQueue;
