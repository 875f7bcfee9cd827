//! Between processes.
//!
//! | | carries | between |
//! |---|---|---|
//! | [`pipe()`] | bytes, one way | this process and its children, tasks |
//! | [`MessageQueue`] | messages with priorities | any programs, by a name |

#[allow(dead_code, reason = "its users come next")]
pub(crate) mod carry;
mod message_queue;
mod name;
mod pipe;

pub use message_queue::{MessageQueue, MessageQueueOptions};
pub use pipe::{PipeReader, PipeWriter, pipe};
