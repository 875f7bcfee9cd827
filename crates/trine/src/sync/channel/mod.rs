//! Channels: messages from many senders to many receivers, between coroutines, threads and `main`
//! in any mix.
//!
//! | | a send waits | for |
//! |---|---|---|
//! | [`bounded`] | while the channel is full | the usual case: a fast sender is slowed down to its receiver |
//! | [`rendezvous`] | until a receiver has taken the message | knowing that it has arrived |
//! | [`unbounded`] | never | few messages whose sender must not wait; memory is the only bound |
//!
//! [`Sender`] and [`Receiver`] can be cloned, shared and sent anywhere in this process. Each message
//! goes to exactly one receiver; the messages of one sender to one receiver arrive in the order in which they
//! were sent. When the last handle of one side is gone, the other learns it: a send fails and hands the
//! value back, a receive fails once the channel is empty.
//!
//! A message that comes in the very moment in which a `select!` or an iteration that waits for it is cancelled goes back
//! into the channel, after those that came later. A receiver that was told of the end in that moment
//! has not seen it.
//!
//! A pipeline with back-pressure:
//!
//! ```
//! use trine::{coroutine, thread};
//! use trine::sync::channel;
//!
//! let (lines, to_count) = channel::bounded(16);
//! let (counts, to_sum) = channel::bounded(16);
//! let reader = coroutine::spawn(move || {
//!     for line in ["one task", "three ways", "to run it"] {
//!         lines.send(line.to_string()).unwrap();
//!     }
//! });
//! let workers: Vec<_> = (0..2)
//!     .map(|_| {
//!         let (to_count, counts) = (to_count.clone(), counts.clone());
//!         thread::spawn(move || {
//!             for line in to_count {
//!                 counts.send(line.split(' ').count()).unwrap();
//!             }
//!         })
//!     })
//!     .collect();
//! drop(counts);
//! assert_eq!(to_sum.iter().sum::<usize>(), 7);
//! # reader.join()?;
//! # for worker in workers { worker.join()? }
//! # Ok::<(), trine::TaskError>(())
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `sender.rs`, `receiver.rs`, `error.rs` | what a user sees |
//! | `future.rs` | the same for async code |
//! | `select.rs` | [`select!`](macro@super::select) |
//! | `shared.rs` | the messages, and how a wait goes |
//! | `waiter.rs` | one who waits, and the queues of them |

use std::fmt;
use std::sync::Arc;

mod error;
mod future;
mod receiver;
mod select;
mod sender;
mod shared;
mod waiter;

pub use error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
pub use future::{Recv, Send};
pub use receiver::{IntoIter, Iter, Receiver, TryIter};
pub use sender::Sender;

/// What the macro `select!` is made of.
#[doc(hidden)]
pub mod __select {
    pub use super::select::{choose, join, recv, send, timeout};
}

use shared::{Channel, UNBOUNDED};

/// A channel with room for `capacity` messages; a [`rendezvous`] if that is 0.
///
/// ```
/// use trine::{coroutine, sync::channel};
///
/// let (sender, receiver) = channel::bounded(2);
/// let task = coroutine::spawn(move || {
///     for n in 0..10 {
///         sender.send(n).unwrap(); // at most two ahead of the receiver
///     }
/// });
/// assert!(receiver.into_iter().eq(0..10));
/// task.join()?;
/// # Ok::<(), trine::TaskError>(())
/// ```
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    // A capacity that no memory can hold is the same as none; the topmost bit is a mark.
    with_capacity(if capacity > isize::MAX as usize { UNBOUNDED } else { capacity })
}

/// A channel without a bound: a send never waits, and what is not received takes memory.
///
/// ```
/// use trine::sync::channel;
///
/// let (sender, receiver) = channel::unbounded();
/// for n in 0..1000 {
///     sender.send(n)?;
/// }
/// assert_eq!(receiver.len(), 1000);
/// # Ok::<(), channel::SendError<i32>>(())
/// ```
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    with_capacity(UNBOUNDED)
}

/// A channel without room: a send waits until a receiver has taken the message.
///
/// ```
/// use trine::{coroutine, sync::channel};
///
/// let (sender, receiver) = channel::rendezvous();
/// let task = coroutine::spawn(move || receiver.recv());
/// sender.send("handed over")?; // the coroutine has it when this returns
/// assert_eq!(task.join().unwrap(), Ok("handed over"));
/// # Ok::<(), channel::SendError<&str>>(())
/// ```
pub fn rendezvous<T>() -> (Sender<T>, Receiver<T>) {
    with_capacity(0)
}

fn with_capacity<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel::new(capacity));
    (Sender { channel: Arc::clone(&channel) }, Receiver { channel })
}

fn describe<T>(name: &str, channel: &Channel<T>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut shown = f.debug_struct(name);
    shown.field("len", &channel.len());
    match channel.capacity() {
        UNBOUNDED => shown.finish_non_exhaustive(),
        capacity => shown.field("capacity", &capacity).finish_non_exhaustive(),
    }
}
