//! Between processes.
//!
//! A [`pipe()`] carries bytes one way: to and from child processes, or between the tasks of this one.

#[allow(dead_code, reason = "its users come next")]
pub(crate) mod carry;
pub mod channel;
mod pipe;

pub use channel::{channel, channel_with};
pub use pipe::{PipeReader, PipeWriter, pipe};
