//! Sending an end to another process: as argument or result of a process task, or as one
//! descriptor.

use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::end::{Descriptors, End};
use super::error::AttachError;
use super::ring::Side;
use super::{Receiver, Sender};
use crate::ipc::carry;
use crate::ipc::fingerprint::fingerprint;
use crate::sys::io::{Blocking, socket};

/// An end's encoding: its side, and the indices of its descriptors.
type Encoded = (u8, [u32; 3]);

fn side_number(side: Side) -> u8 {
    match side {
        Side::Sender => 1,
        Side::Receiver => 2,
    }
}

fn serialize<S: Serializer>(end: &End, serializer: S) -> Result<S::Ok, S::Error> {
    let Descriptors { memory, peers, bell } = end.descriptors().map_err(S::Error::custom)?;
    let indices =
        [carry::put(memory.as_fd())?, carry::put(peers.as_fd())?, carry::put(bell.as_fd())?];
    (side_number(end.side), indices).serialize(serializer)
}

fn deserialize<'de, T, D: Deserializer<'de>>(side: Side, from: D) -> Result<Arc<End>, D::Error> {
    let (number, [memory, peers, bell]) = Encoded::deserialize(from)?;
    let descriptors = Descriptors {
        memory: carry::take(memory)?,
        peers: carry::take(peers)?,
        bell: carry::take(bell)?,
    };
    if number != side_number(side) {
        return Err(D::Error::custom(AttachError::OtherSide));
    }
    End::attach(side, descriptors, fingerprint::<T>(size_of::<T>()))
        .map(Arc::new)
        .map_err(D::Error::custom)
}

/// Encodes the end as part of an argument or result of a process task. The receiver gets another
/// end of the same channel.
impl<T> Serialize for Sender<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.end, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Sender<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Sender<T>, D::Error> {
        Ok(Sender { end: deserialize::<T, D>(Side::Sender, from)?, messages: PhantomData })
    }
}

/// Encodes the end as part of an argument or result of a process task. The receiver gets another
/// end of the same channel.
impl<T> Serialize for Receiver<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize(&self.end, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Receiver<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Receiver<T>, D::Error> {
        Ok(Receiver { end: deserialize::<T, D>(Side::Receiver, from)?, messages: PhantomData })
    }
}

/// Beginning of the packet that holds an end; its side follows.
const LABEL: &[u8; 8] = b"trine/ch";

/// Wraps an end into one descriptor: a socket whose queue holds the end's descriptors.
fn wrap(end: &End) -> Result<OwnedFd, AttachError> {
    let (inside, outside) = socket::packet_pair()?;
    let packet = [&LABEL[..], &[side_number(end.side)]].concat();
    let Descriptors { memory, peers, bell } = end.descriptors()?;
    let descriptors = [memory.as_fd(), peers.as_fd(), bell.as_fd()];
    socket::send_packet(inside, &packet, &descriptors, Blocking::No)?;
    Ok(outside)
}

fn unwrap(side: Side, socket: OwnedFd, fingerprint: u64) -> Result<End, AttachError> {
    socket::packet_pair_maker(socket.as_fd())
        .map_err(|_| AttachError::NotAChannel("it is not the kind of socket that holds an end"))?;
    let empty = AttachError::NotAChannel("the socket holds no end, or it was taken out before");
    let mut label = [0; 16];
    let Ok(mut packet) = socket::receive_packet(&socket, &mut label, Blocking::No) else {
        return Err(empty);
    };
    let number = match label[..packet.len].split_last() {
        Some((number, text)) if text == LABEL => number,
        _ => return Err(empty),
    };
    if *number != side_number(side) {
        return Err(AttachError::OtherSide);
    }
    let Ok([memory, peers, bell]) = <[OwnedFd; 3]>::try_from(packet.descriptors.take()) else {
        return Err(AttachError::NotAChannel(
            "its descriptors are missing; check the limit of open files (`ulimit -n`)",
        ));
    };
    End::attach(side, Descriptors { memory, peers, bell }, fingerprint)
}

/// Turns the end into one descriptor for another program. That program inherits the descriptor or
/// receives it through a socket, and turns it into an end again, once.
///
/// ```
/// use std::os::fd::OwnedFd;
/// use trine::ipc;
///
/// let (sender, receiver) = ipc::channel::<u32>(8)?;
/// let descriptor = OwnedFd::try_from(sender)?;
/// // … in another program, which has got it as its standard input, say:
/// let sender = ipc::channel::Sender::<u32>::try_from(descriptor)?;
/// sender.send(7)?;
/// assert_eq!(receiver.recv()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<T> TryFrom<Sender<T>> for OwnedFd {
    type Error = AttachError;

    fn try_from(sender: Sender<T>) -> Result<OwnedFd, AttachError> {
        wrap(&sender.end)
    }
}

/// Turns the end into one descriptor, as for a [`Sender`].
impl<T> TryFrom<Receiver<T>> for OwnedFd {
    type Error = AttachError;

    fn try_from(receiver: Receiver<T>) -> Result<OwnedFd, AttachError> {
        wrap(&receiver.end)
    }
}

/// Turns a descriptor back into the end that it was made of. The message type must have the same
/// name and size on both sides.
impl<T> TryFrom<OwnedFd> for Sender<T> {
    type Error = AttachError;

    fn try_from(descriptor: OwnedFd) -> Result<Sender<T>, AttachError> {
        let end = Arc::new(unwrap(Side::Sender, descriptor, fingerprint::<T>(size_of::<T>()))?);
        Ok(Sender { end, messages: PhantomData })
    }
}

/// Turns a descriptor back into an end, as for a [`Sender`].
impl<T> TryFrom<OwnedFd> for Receiver<T> {
    type Error = AttachError;

    fn try_from(descriptor: OwnedFd) -> Result<Receiver<T>, AttachError> {
        let end = Arc::new(unwrap(Side::Receiver, descriptor, fingerprint::<T>(size_of::<T>()))?);
        Ok(Receiver { end, messages: PhantomData })
    }
}
