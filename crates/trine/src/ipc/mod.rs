//! Between processes.
//!
//! | | carries | between |
//! |---|---|---|
//! | [`pipe()`] | bytes, one way | this process and its children, tasks |
//! | [`channel()`](channel()) | messages of one type, many to many | processes that an end is sent to, by a descriptor any programs |
//! | [`Fifo`] | bytes, one way | any programs, by a path |
//! | [`MessageQueue`] | messages with priorities | any programs, by a name |
//! | [`Semaphore`] | permits | any programs, by a name; processes that it is sent to |
//! | [`Shared`] | memory of any size that nobody changes any more, without a copy | processes that it is sent to |
//! | [`SharedMut`] | atomic numbers that all may write | the same |
//! | [`Mutex`] | a value behind a lock that outlives its holders | the same |
//!
//! Which to choose, what happens when a peer dies, and what each costs beside others: `docs/IPC.md` of the repository.

pub(crate) mod carry;
pub mod channel;
mod fifo;
mod message_queue;
mod mutex;
mod name;
mod pauses;
mod pipe;
mod semaphore;
mod shared;

pub use bytemuck;
pub use channel::{channel, channel_with};
pub use fifo::Fifo;
pub use message_queue::{MessageQueue, MessageQueueOptions};
pub use mutex::{LockResult, Mutex, MutexGuard, OwnerDied};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use semaphore::{Semaphore, SemaphorePermit};
pub use shared::{Atomics, Content, Shared, SharedError, SharedMut};
