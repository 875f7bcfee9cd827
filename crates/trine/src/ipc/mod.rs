//! Between processes.
//!
//! A [`pipe()`] carries bytes one way: to and from child processes, or between the tasks of this one. [`Shared`] is memory that
//! travels as a descriptor, whatever its size; [`SharedMut`] holds atomic numbers that all may write, [`Mutex`]
//! a value behind a lock that outlives its holders.

pub(crate) mod carry;
mod mutex;
mod pipe;
mod shared;

pub use bytemuck;
pub use mutex::{LockResult, Mutex, MutexGuard, OwnerDied};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use shared::{Atomics, Content, Shared, SharedError, SharedMut};
