//! Channels between processes: typed messages in shared memory, many senders to many receivers.
//!
//! ```text
//!   sender ──encodes──► slot or block of the memory ──copied, decoded──► receiver
//! ```
//!
//! An end can be sent to another process, and cloned there. Each message goes to one receiver;
//! messages of one sender arrive in order.
//!
//! A process may die at any moment, also by SIGKILL. Messages that it has sent are received. A
//! message that it was just sending or receiving is lost with it. The other processes go on. When
//! the last end of one side is closed in all processes, the other side is notified.
//!
//! The memory is untrusted, because every process with an end can write to it. A message is copied
//! before it is checked, and used only after the check. So a corrupted peer causes errors here,
//! never undefined behaviour. It can still send arbitrary messages and keep others from arriving. A
//! wait always ends by cancellation, by its timeout, or when no peer is left.

// | file | contents |
// |---|---|
// | `sender.rs`, `receiver.rs` | the ends as a user sees them |
// | `error.rs` | `SendError`, `RecvError`, `AttachError` |
// | `travel.rs` | sending an end to another process |
// | `codec.rs` | encoding and decoding of messages |
// | `decode.rs` | decoding in place, from untrusted memory |
// | `end.rs` | an end's descriptors, and its waits |
// | `spin.rs` | spinning before a wait |
// | `ring.rs` | the queue, and its wake-ups |
// | `block.rs` | blocks for long messages |
// | `layout.rs` | the memory, word by word |

use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

mod block;
mod codec;
mod decode;
mod end;
mod error;
mod layout;
mod receiver;
mod ring;
mod sender;
mod spin;
mod travel;

#[cfg(test)]
#[path = "../../../tests/unit/ipc_channel.rs"]
mod tests;

pub use error::{AttachError, Reason, RecvError, SendError};
pub use receiver::{Iter, Receiver};
pub use sender::Sender;

use super::fingerprint::fingerprint;
use crate::sys::io::{reopen, socket};
use crate::sys::limits;
use crate::sys::memory::memfd::Unfit;
use crate::sys::memory::shared::SharedMemory;
use end::{Descriptors, End};
use layout::{Layout, MAX_SLOTS};
use ring::Side;

/// Size limit of a message where the caller gives none.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Creates a channel between processes with room for `capacity` messages of up to 1 MiB each when
/// encoded.
///
/// Its ends travel as arguments and results of process tasks; [`channel_with`] sets another size. A
/// page of memory is allocated when a message first touches it. Byte strings are copied as a whole
/// if serde knows them as such (`serde_bytes`).
///
/// ```
/// use trine::ipc;
///
/// let (sender, receiver) = ipc::channel(16)?;
/// let task = trine::coroutine::spawn(move || sender.send(vec!["one", "two"].join(" ")));
/// assert_eq!(receiver.recv()?, "one two");
/// # task.join()??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// Fails if no descriptors are left (each end takes four), if there is no `/proc`, or if `capacity`
/// is 0 or more than a million.
pub fn channel<T>(capacity: usize) -> io::Result<(Sender<T>, Receiver<T>)>
where
    T: Serialize + DeserializeOwned,
{
    channel_with(capacity, MAX_MESSAGE_BYTES)
}

/// Creates a [`channel`] for messages of up to `max_message_bytes` each when encoded.
///
/// ```
/// let (sender, receiver) = trine::ipc::channel_with::<String>(4, 100)?;
/// let error = sender.send("x".repeat(101)).unwrap_err();
/// assert!(error.to_string().contains("100 bytes"));
/// # drop(receiver);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// Fails as `channel` does, and if `capacity` such messages do not fit into an address space.
pub fn channel_with<T>(
    capacity: usize,
    max_message_bytes: usize,
) -> io::Result<(Sender<T>, Receiver<T>)>
where
    T: Serialize + DeserializeOwned,
{
    let layout = Some(max_message_bytes)
        .filter(|_| (1..=MAX_SLOTS).contains(&capacity))
        .and_then(|max_message| Layout::new(capacity, max_message))
        .ok_or_else(|| {
            let text = format!(
                "a channel of {capacity} messages of {max_message_bytes} bytes: the capacity must \
                 be 1 to {MAX_SLOTS}, a message shorter than 4 GiB, and all of them must fit into \
                 an address space"
            );
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
    make(layout, fingerprint::<T>(size_of::<T>())).map_err(|error| {
        let what = format!("channel with {} bytes of shared memory", layout.len);
        limits::with_met_limit(&what, layout.len as u64, error)
    })
}

fn make<T>(layout: Layout, fingerprint: u64) -> io::Result<(Sender<T>, Receiver<T>)> {
    let (region, memory) = SharedMemory::create(c"trine-channel", layout.len)?;
    layout.write(&region, fingerprint);
    let (senders, receivers) = socket::packet_pair()?;
    let bell = reopen::bell()?;
    let again = reopen::reopen(bell.as_fd())?;
    let sending = Descriptors { memory: memory.try_clone()?, peers: senders, bell: again };
    let receiving = Descriptors { memory, peers: receivers, bell };
    let again = SharedMemory::attach(&receiving.memory).map_err(|unfit| match unfit {
        Unfit::System(error) => error,
        _ => io::Error::other("the kernel does not seal memory"),
    })?;
    let sender = End::new(Side::Sender, region, layout, sending)?;
    let receiver = End::new(Side::Receiver, again, layout, receiving)?;
    Ok((
        Sender { end: Arc::new(sender), messages: PhantomData },
        Receiver { end: Arc::new(receiver), messages: PhantomData },
    ))
}
