//! Channels: messages from many senders to many receivers, between coroutines, threads and `main`
//! in any mix.
//!
//! | | a send waits | for |
//! |---|---|---|
//! | [`bounded`] | while the channel is full | most uses: a fast sender waits for its receiver |
//! | [`rendezvous`] | until a receiver has taken the message | knowing that it has arrived |
//! | [`unbounded`] | never | few messages whose sender must not wait; memory is the only bound |
//!
//! [`Sender`] and [`Receiver`] can be cloned, shared and sent anywhere in this process. Each
//! message goes to exactly one receiver. The messages of one sender to one receiver arrive in the
//! order in which they were sent. When the last handle of one side is dropped, the other side is
//! disconnected: a send fails and hands the value back, a receive fails once the channel is empty.
//!
//! Messages between processes go through an [`ipc::channel()`](crate::ipc::channel()), whose
//! [`ipc::Sender`](crate::ipc::Sender) and [`ipc::Receiver`](crate::ipc::Receiver) travel in the
//! argument of a process task.
//!
//! A message may come at the same moment in which a waiting `select!` or iteration is cancelled.
//! Then it goes back to the head of the channel, behind later messages that were already received.
//! A receiver that has just returned the error of an empty, disconnected channel has missed it.
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

// | file | contents |
// |---|---|
// | `sender.rs`, `receiver.rs`, `error.rs` | the public face |
// | `future.rs` | the same for async code |
// | `select.rs` | `select!`: the choice among its arms |
// | `selector.rs` | `Select`: a choice among arms that are made at run time |
// | `arms.rs` | the arms, each a kind of operation |
// | `arm_of_future.rs` | the arm that is a future |
// | `shared.rs` | the channel: its lock, its handles, its end |
// | `state.rs` | the messages and the queues, under the lock |
// | `blocking.rs` | a blocking wait |
// | `waiter.rs` | a waiter, and a queue of them |

use std::sync::Arc;

mod arm_of_future;
mod arms;
mod blocking;
mod error;
mod future;
mod receiver;
mod select;
mod selector;
mod sender;
mod shared;
mod state;
mod waiter;

pub use error::{
    RecvError, RecvTimeoutError, SendError, SendTimeoutError, TryRecvError, TrySendError,
};
// Not `Send`: a glob import of this module would hide the trait.
pub use future::{Recv as RecvFuture, Send as SendFuture};
pub use receiver::{IntoIter, Iter, Receiver, TryIter};
pub use selector::Select;
pub use sender::Sender;

/// The functions that the macro `select!` calls.
#[doc(hidden)]
pub mod __select {
    pub use super::arm_of_future::future;
    pub use super::arms::{join, recv, send, timeout};
    pub use super::select::{choose, choose_first};
}

use shared::{Channel, UNBOUNDED};

/// Makes a channel with room for `capacity` messages; a [`rendezvous`] if that is 0.
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
    // A capacity that no memory can hold is as good as none; the topmost bit is a mark.
    with_capacity(if capacity > isize::MAX as usize { UNBOUNDED } else { capacity })
}

/// Makes a channel without a bound: a send never waits, and unreceived messages take memory.
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

/// Makes a channel without room: a send waits until a receiver has taken the message.
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

/// Makes a receiver of a channel that never has a message, and never disconnects: for an arm of
/// `select!` that is switched off.
///
/// ```
/// use trine::sync::{channel, select};
///
/// let (sender, receiver) = channel::bounded(1);
/// let paused = channel::never::<&str>();
/// sender.send("a message")?;
/// select! {
///     recv(receiver) -> message => assert_eq!(message, Ok("a message")),
///     recv(paused) -> _ => unreachable!(),
/// }
/// # Ok::<(), channel::SendError<&str>>(())
/// ```
pub fn never<T>() -> Receiver<T> {
    // Its one sender is counted, and does not exist.
    Receiver { channel: Arc::new(Channel::new(0)) }
}

fn with_capacity<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel::new(capacity));
    (Sender { channel: Arc::clone(&channel) }, Receiver { channel })
}
