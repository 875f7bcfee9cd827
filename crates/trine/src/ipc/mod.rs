//! Between processes.
//!
//! A [`pipe()`] carries bytes one way: to and from child processes, or between the tasks of this one. A
//! [`channel()`](channel()) carries messages of one type, from many senders to many receivers in any process.

#[allow(dead_code, reason = "its users come next")]
pub(crate) mod carry;
pub mod channel;
mod pipe;

pub use channel::{channel, channel_with};
pub use pipe::{PipeReader, PipeWriter, pipe};
