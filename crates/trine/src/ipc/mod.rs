//! Communication between processes.
//!
//! Arguments and results of process tasks need nothing of this module. It is for memory that many
//! tasks read without a copy, and for messages while a task runs:
//!
//! ```
//! use trine::{ipc, process};
//!
//! // A million numbers in sealed memory, which the tasks map; and a channel for what they find.
//! let numbers = ipc::Shared::<[u64]>::build(1_000_000, |numbers| numbers.fill(7))?;
//! let (sender, receiver) = ipc::channel::<u64>(16)?;
//!
//! let tasks = [0, 1].map(|half| {
//!     process::spawn((half, numbers.clone(), sender.clone()), |(half, numbers, sender)| {
//!         for part in numbers[half * 500_000..][..500_000].chunks(100_000) {
//!             sender.send(part.iter().sum::<u64>()).unwrap();
//!         }
//!     })
//! });
//! drop(sender); // the tasks have clones; the loop ends when the last one is closed
//! let mut sum = 0;
//! for part in &receiver {
//!     sum += part?;
//! }
//! assert_eq!(sum, 7_000_000);
//! for task in tasks {
//!     task.join()?; // without it, a task that died would be a sum that is too small
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | | carries | between |
//! |---|---|---|
//! | [`pipe()`] | bytes, one way | this process, its tasks and its children |
//! | [`channel()`](channel()): [`Sender`], [`Receiver`] | messages of one type, many to many | process tasks; any programs, by a descriptor |
//! | [`Fifo`] | bytes, one way | any programs, by a path |
//! | [`MessageQueue`] | messages with priorities | any programs, by a name |
//! | [`Semaphore`] | permits | any programs, by a name; process tasks |
//! | [`Shared`] | immutable memory of any size, without a copy | process tasks; any programs, by a descriptor |
//! | [`SharedMut`] | atomic numbers that all of them write | the same |
//! | [`Mutex`] | a value behind a lock that survives the death of its holder | the same |
//!
//! `docs/IPC.md` in the repository compares them: which to choose, what happens when a peer dies,
//! and what each costs.

// | file | contents |
// |---|---|
// | `pipe.rs` | `pipe()` and its ends |
// | `fifo/` | `Fifo` |
// | `channel/` | typed messages in shared memory |
// | `message_queue/` | POSIX message queues |
// | `semaphore/` | POSIX semaphores |
// | `shared/` | sealed memory: `Shared`, `SharedMut` |
// | `mutex/` | `Mutex` |
// | `carry.rs` | descriptors that travel with an encoded value |
// | `fingerprint.rs` | fingerprints of types |
// | `name.rs` | checks of names |

pub(crate) mod carry;
pub mod channel;
mod fifo;
mod fingerprint;
mod message_queue;
mod mutex;
mod name;
mod pipe;
mod semaphore;
mod shared;

pub use bytemuck;
pub use channel::{Receiver, Sender, channel, channel_with};
pub use fifo::{Fifo, FifoOptions};
pub use message_queue::{MessageQueue, MessageQueueOptions};
pub use mutex::{LockResult, Mutex, MutexGuard, OwnerDied};
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use semaphore::{Semaphore, SemaphoreOptions, SemaphorePermit};
pub use shared::{Atomics, Content, Shared, SharedError, SharedMut};
