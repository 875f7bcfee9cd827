//! Between processes.
//!
//! | | carries | between |
//! |---|---|---|
//! | [`pipe()`] | bytes, one way | this process and its children, tasks |
//! | [`MessageQueue`] | messages with priorities | any programs, by a name |
//! | [`Semaphore`] | permits | any programs, by a name; processes that it is sent to |

#[allow(dead_code, reason = "its users come next")]
pub(crate) mod carry;
mod message_queue;
mod name;
mod pipe;
mod semaphore;

pub use message_queue::{MessageQueue, MessageQueueOptions};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use semaphore::{Semaphore, SemaphorePermit};
