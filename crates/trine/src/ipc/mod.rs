//! Between processes.
//!
//! A [`pipe`] carries bytes one way: to and from child processes, or between the tasks of this one.

mod pipe;

pub use pipe::{PipeReader, PipeWriter, pipe};
