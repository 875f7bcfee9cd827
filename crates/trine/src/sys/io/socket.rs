//! Sending and receiving on sockets: bytes, packets, and descriptors that travel.
//!
//! Every descriptor made or received here closes on `exec`. No send raises SIGPIPE: a program may
//! have restored that signal's default action, which ends the process.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
};

use super::Blocking;
use super::arrived::Arrived;
use super::unix_socket::{self, Credentials};
use crate::sys::lift::{lift, lift_pair};

/// The most descriptors in one packet.
const PACKET_DESCRIPTORS: usize = 6;

/// Makes a connected pair that carries a stream of bytes.
pub(crate) fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::STREAM)
}

/// Makes a connected pair that carries a stream of bytes. The process at the second end is not
/// trusted by that at the first.
pub(crate) fn worker_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = stream_pair()?;
    // Otherwise a receive drops urgent bytes, and closes the descriptors that came with them.
    net::sockopt::set_socket_oobinline(&ours, true)?;
    Ok((ours, theirs))
}

/// Makes a connected pair that keeps the boundaries between packets.
pub(crate) fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::SEQPACKET)
}

fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    Ok(lift_pair(pair)?)
}

/// Sends as many of `bytes` as fit, and returns how many.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], blocking: Blocking) -> io::Result<usize> {
    let flags = send_flags(blocking);
    Ok(retry(|| net::send(&socket, bytes, flags))?)
}

/// Sends all of `bytes`, sleeping as often as necessary.
pub(crate) fn send_all(socket: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = send(&socket, bytes, Blocking::Yes)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Receives at most `buffer.len()` bytes; 0 means that the peer sends no more.
pub(crate) fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    blocking: Blocking,
) -> io::Result<usize> {
    let flags = receive_flags(blocking);
    Ok(retry(|| net::recv(&socket, &mut *buffer, flags))?.0)
}

/// Receives bytes, or the first packet, without removing them from the socket; never sleeps.
pub(crate) fn peek(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    Ok(retry(|| net::recv(&socket, &mut *buffer, flags))?.0)
}

/// The result of [`receive_with`].
#[derive(Debug)]
pub(crate) struct Part {
    /// The number of bytes written to the buffer; 0 means that the peer sends no more.
    pub(crate) len: usize,
    /// The descriptors that came with the first of the bytes, if any were sent. Those for which
    /// this process has no room are missing.
    pub(crate) descriptors: Option<Arrived>,
}

/// The most descriptors that the kernel lets travel with one part of a stream (`SCM_MAX_FD`).
pub(crate) const MOST_DESCRIPTORS: usize = 253;

/// Receives at most `buffer.len()` bytes, and descriptors.
pub(crate) fn receive_with(
    socket: impl AsFd,
    buffer: &mut [u8],
    blocking: Blocking,
) -> io::Result<Part> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let (len, flags, descriptors) = receive_message(socket, buffer, &mut space, blocking)?;
    let some = flags.contains(ReturnFlags::CTRUNC) || !descriptors.is_empty();
    Ok(Part { len, descriptors: some.then(|| descriptors.into()) })
}

/// Sends as many of `bytes` as fit, and all of `descriptors` with the first of them. Returns the
/// number of bytes.
pub(crate) fn send_with(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    blocking: Blocking,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    send_message(socket, bytes, descriptors, &mut space, blocking)
}

/// Returns true if a socket took nothing because too much is in flight: memory, or descriptors
/// (`ETOOMANYREFS`: more than this user may have in flight).
///
/// The socket takes more when some of that has arrived, and the kernel does not report that.
pub(crate) fn takes_more_later(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETOOMANYREFS | libc::ENOBUFS | libc::ENOMEM))
}

/// Receives into `buffer` without sleeping, and returns how many bytes at its front were written;
/// 0 means that the peer sends no more.
#[cfg(feature = "hyper")]
pub(crate) fn receive_uninit(
    socket: impl AsFd,
    buffer: &mut [MaybeUninit<u8>],
) -> io::Result<usize> {
    let ((received, _), _) = net::recv(socket, buffer, RecvFlags::DONTWAIT)?;
    Ok(received.len())
}

/// The most bytes that [`receive_behind`] appends: no more than a socket holds by default. They are
/// zeroed first.
pub(crate) const MOST_BEHIND: usize = 256 * 1024;

/// Like [`receive_with`], but appends at most `most` bytes to `buffer`, and at most
/// [`MOST_BEHIND`]. `buffer` has room for them.
pub(crate) fn receive_behind(
    socket: impl AsFd,
    buffer: &mut Vec<u8>,
    most: usize,
    blocking: Blocking,
) -> io::Result<Part> {
    let len = buffer.len();
    let most = most.min(MOST_BEHIND).min(buffer.capacity() - len);
    buffer.resize(len + most, 0);
    let received = receive_with(socket, &mut buffer[len..], blocking);
    buffer.truncate(len + received.as_ref().map_or(0, |part| part.len));
    received
}

/// The most buffers of one vectored call; the kernel refuses more (`UIO_MAXIOV`).
pub(crate) const MOST_BUFFERS: usize = 1024;

/// Receives into several buffers, at most [`MOST_BUFFERS`]; never sleeps.
pub(crate) fn receive_vectored(
    socket: impl AsFd,
    buffers: &mut [IoSliceMut<'_>],
) -> io::Result<usize> {
    let most = buffers.len().min(MOST_BUFFERS);
    // The kernel closes descriptors that come along, as there is no room for them.
    let mut no_room = RecvAncillaryBuffer::default();
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    Ok(net::recvmsg(socket, &mut buffers[..most], &mut no_room, flags)?.bytes)
}

/// Sends as much of several buffers, at most [`MOST_BUFFERS`], as fits; never sleeps.
pub(crate) fn send_vectored(socket: impl AsFd, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    let most = buffers.len().min(MOST_BUFFERS);
    let flags = send_flags(Blocking::No);
    Ok(net::sendmsg(socket, &buffers[..most], &mut SendAncillaryBuffer::default(), flags)?)
}

/// The result of [`receive_packet`].
#[derive(Debug)]
pub(crate) struct Packet {
    /// The number of bytes written to the buffer; 0 without a descriptor means that the peer has
    /// closed its end.
    pub(crate) len: usize,
    /// The descriptors that came along. Those for which this process has no room are missing.
    pub(crate) descriptors: Arrived,
}

/// Sends one packet, with descriptors.
pub(crate) fn send_packet(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    blocking: Blocking,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_DESCRIPTORS))];
    send_message(socket, bytes, descriptors, &mut space, blocking).map(drop)
}

/// Receives one packet, with descriptors; a longer packet than `buffer` is cut.
pub(crate) fn receive_packet(
    socket: impl AsFd,
    buffer: &mut [u8],
    blocking: Blocking,
) -> io::Result<Packet> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PACKET_DESCRIPTORS))];
    let (len, _, descriptors) = receive_message(socket, buffer, &mut space, blocking)?;
    Ok(Packet { len, descriptors: descriptors.into() })
}

/// Sends `bytes`, with descriptors, whose numbers `space` holds meanwhile.
fn send_message(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    space: &mut [MaybeUninit<u8>],
    blocking: Blocking,
) -> io::Result<usize> {
    let mut control = SendAncillaryBuffer::new(space);
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        assert!(fits, "too many descriptors for one message: {}", descriptors.len());
    }
    let flags = send_flags(blocking);
    Ok(retry(|| net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags))?)
}

/// Receives bytes and as many descriptors as `space` has room for.
fn receive_message(
    socket: impl AsFd,
    buffer: &mut [u8],
    space: &mut [MaybeUninit<u8>],
    blocking: Blocking,
) -> io::Result<(usize, ReturnFlags, Vec<OwnedFd>)> {
    let mut control = RecvAncillaryBuffer::new(space);
    let flags = RecvFlags::CMSG_CLOEXEC | receive_flags(blocking);
    let message =
        retry(|| net::recvmsg(&socket, &mut [IoSliceMut::new(&mut *buffer)], &mut control, flags))?;
    let mut descriptors = Vec::new();
    for ancillary in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = ancillary {
            // One that cannot be moved is missing, like one for which there was no room.
            descriptors.extend(received.filter_map(|descriptor| lift(descriptor).ok()));
        }
    }
    Ok((message.bytes, message.flags, descriptors))
}

/// Ends this side of a connection: the peer sees that no more bytes come.
pub(crate) fn hang_up(socket: impl AsFd) {
    // The one way to fail is that the peer has closed its end already.
    let _ = net::shutdown(socket, Shutdown::Write);
}

/// Lets the peer send no more. Bytes that it has sent can still be received.
pub(crate) fn refuse_more(socket: impl AsFd) {
    // The one way to fail is that the peer has closed its end already.
    let _ = net::shutdown(socket, Shutdown::Read);
}

/// Returns the credentials of the process that made the packet socket pair of `descriptor`.
///
/// # Errors
///
/// If the descriptor is not open, or not a Unix packet socket.
pub(crate) fn packet_pair_maker(descriptor: BorrowedFd<'_>) -> io::Result<Credentials> {
    if net::sockopt::socket_domain(descriptor)? != AddressFamily::UNIX
        || net::sockopt::socket_type(descriptor)? != SocketType::SEQPACKET
    {
        return Err(io::Error::other("it is another kind of socket"));
    }
    unix_socket::peer(descriptor)
}

/// Flags of every send: no SIGPIPE, and no sleep unless `blocking` allows it.
pub(super) fn send_flags(blocking: Blocking) -> SendFlags {
    match blocking {
        Blocking::Yes => SendFlags::NOSIGNAL,
        Blocking::No => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    }
}

fn receive_flags(blocking: Blocking) -> RecvFlags {
    match blocking {
        Blocking::Yes => RecvFlags::empty(),
        Blocking::No => RecvFlags::DONTWAIT,
    }
}

/// Repeats a call that a signal handler has interrupted.
fn retry<T>(call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    rustix::io::retry_on_intr(call)
}
