//! Between processes.
//!
//! | | carries | between |
//! |---|---|---|
//! | [`pipe()`] | bytes, one way | this process and its children, tasks |
//! | [`Fifo`] | bytes, one way | any programs, by a path |
//! | [`MessageQueue`] | messages with priorities | any programs, by a name |
//! | [`Semaphore`] | permits | any programs, by a name; processes that it is sent to |

#[allow(dead_code, reason = "its users come next")]
pub(crate) mod carry;
mod fifo;
mod message_queue;
mod name;
mod pauses;
mod pipe;
mod semaphore;

pub use fifo::Fifo;
pub use message_queue::{MessageQueue, MessageQueueOptions};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use semaphore::{Semaphore, SemaphorePermit};
