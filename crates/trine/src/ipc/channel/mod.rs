//! Channels between processes: typed messages in shared memory, from many senders to many receivers.
//!
//! ```text
//!   sender ──encodes──► slot or block of the memory ──copied, decoded──► receiver
//! ```
//!
//! An end can be sent to another process, and cloned there. Each message goes to one receiver; those of one
//! sender arrive in order. A process may die at any moment, also by SIGKILL: messages that it has sent
//! are received, one that it was just sending or receiving is lost with it, and the others go on. When the last end of
//! one side is gone, in all processes, the other side learns it.
//!
//! What lies in the memory is another process's word. It is copied before it is looked at, and believed no further
//! than it can be checked: a peer that has gone mad makes errors here, no undefined behaviour. (It can send what
//! it wants, and keep messages from arriving; a wait still ends by cancellation, by time, and when no peer is left.)
//!
//! | file | what it holds |
//! |---|---|
//! | `sender.rs`, `receiver.rs`, `error.rs` | what a user sees |
//! | `travel.rs` | how ends get into other processes |
//! | `codec.rs`, `decode.rs` | messages as bytes |
//! | `end.rs`, `spin.rs` | descriptors, and how one waits |
//! | `ring.rs`, `block.rs`, `layout.rs` | the memory |

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

use crate::sys::io::{reopen, socket};
use crate::sys::memory::memfd::Unfit;
use crate::sys::memory::shared::SharedMemory;
use end::{Descriptors, End};
use layout::{Layout, MOST_SLOTS, fingerprint};
use ring::Side;

/// Most bytes of a message, where nothing else was said.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Makes a channel between processes with room for `capacity` messages, each of up to 1 MiB when it is encoded.
///
/// Its ends travel as arguments and results of process tasks; see also [`channel_with`]. Memory is taken as
/// messages touch it. Byte strings are copied at once if serde knows them as such (`serde_bytes`).
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
/// If there are no descriptors left (it takes four for each end), no `/proc` is there, or `capacity` is 0 or more than a million.
pub fn channel<T>(capacity: usize) -> io::Result<(Sender<T>, Receiver<T>)>
where
    T: Serialize + DeserializeOwned,
{
    channel_with(capacity, MAX_MESSAGE_BYTES)
}

/// As [`channel`], for messages of up to `max_message_bytes` each when they are encoded.
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
/// As `channel`, and if an address space cannot hold `capacity` such messages.
pub fn channel_with<T>(
    capacity: usize,
    max_message_bytes: usize,
) -> io::Result<(Sender<T>, Receiver<T>)>
where
    T: Serialize + DeserializeOwned,
{
    let layout = Some(max_message_bytes)
        .filter(|_| (1..=MOST_SLOTS).contains(&capacity))
        .and_then(|longest| Layout::new(capacity, longest))
        .ok_or_else(|| {
            let text = format!(
                "a channel of {capacity} messages of {max_message_bytes} bytes: the capacity is to be 1 to \
                 {MOST_SLOTS}, a message less than 4 GiB, and all of them fit into an address space"
            );
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
    let (region, memory) = SharedMemory::create(c"trine-channel", layout.len)?;
    layout.write(&region, fingerprint::<T>());
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
