//! Unix sockets between the processes of one program: bytes, packets, and descriptors that travel.
//!
//! Every descriptor made or received here closes on `exec`, and no send raises SIGPIPE: a program
//! may have given that signal its deadly default back.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType,
};

use super::unix_socket;

/// Whether a call may sleep until it can do something, or says `WouldBlock` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Sleeps.
    Wait,
    /// Answers at once.
    Now,
}

/// Most descriptors in one packet.
const DESCRIPTORS: usize = 4;

/// A connected pair that carries a stream of bytes.
pub(crate) fn stream_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// A connected pair that keeps the bounds of what is sent.
pub(crate) fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a part of `bytes`, as much as fits, and says how much that was.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8], patience: Patience) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | send_patience(patience);
    Ok(retry(|| net::send(&socket, bytes, flags))?)
}

/// Sends all of `bytes`, sleeping as often as need be.
pub(crate) fn send_all(socket: impl AsFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = send(&socket, bytes, Patience::Wait)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Receives at most `buffer.len()` bytes; 0 means that the peer sends no more.
pub(crate) fn receive(
    socket: impl AsFd,
    buffer: &mut [u8],
    patience: Patience,
) -> io::Result<usize> {
    let flags = receive_patience(patience);
    Ok(retry(|| net::recv(&socket, &mut *buffer, flags))?.0)
}

/// What [`receive_with`] found.
#[derive(Debug)]
pub(crate) struct Part {
    /// How many bytes of the buffer it fills; 0 means that the peer sends no more.
    pub(crate) len: usize,
    /// The descriptors that came with the first of its bytes, if any were sent; those for which this process
    /// has no room are missing.
    pub(crate) descriptors: Option<Vec<OwnedFd>>,
}

/// Most descriptors that the kernel lets travel with one part of a stream (`SCM_MAX_FD`).
pub(crate) const MOST_DESCRIPTORS: usize = 253;

/// Receives at most `buffer.len()` bytes, and descriptors.
pub(crate) fn receive_with(
    socket: impl AsFd,
    buffer: &mut [u8],
    patience: Patience,
) -> io::Result<Part> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | receive_patience(patience);
    let message =
        retry(|| net::recvmsg(&socket, &mut [IoSliceMut::new(&mut *buffer)], &mut control, flags))?;
    let cut = message.flags.contains(net::ReturnFlags::CTRUNC);
    let descriptors = rights(control);
    let some = cut || !descriptors.is_empty();
    Ok(Part { len: message.bytes, descriptors: some.then_some(descriptors) })
}

/// Sends a part of `bytes`, as much as fits, and all of `descriptors` with its first byte; says how many bytes.
pub(crate) fn send_with(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    patience: Patience,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
    assert!(fits, "at most {MOST_DESCRIPTORS} descriptors travel together");
    let flags = SendFlags::NOSIGNAL | send_patience(patience);
    Ok(retry(|| net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags))?)
}

/// Whether a socket took nothing because too much is on its way, in memory or in descriptors (`ETOOMANYREFS`: more
/// than this user may have in flight): it will when some of that has arrived, which nothing tells.
pub(crate) fn takes_more_later(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETOOMANYREFS | libc::ENOBUFS | libc::ENOMEM))
}

fn rights(mut control: RecvAncillaryBuffer<'_>) -> Vec<OwnedFd> {
    let mut descriptors = Vec::new();
    for ancillary in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = ancillary {
            descriptors.extend(received);
        }
    }
    descriptors
}

/// Receives into `buffer`, at once or not at all, and says how many bytes at its front were written;
/// 0 means that the peer sends no more.
#[cfg(feature = "hyper")]
pub(crate) fn receive_uninit(
    socket: impl AsFd,
    buffer: &mut [MaybeUninit<u8>],
) -> io::Result<usize> {
    let ((received, _), _) = net::recv(socket, buffer, RecvFlags::DONTWAIT)?;
    Ok(received.len())
}

/// Receives at most `most` bytes behind what `buffer` holds, within its capacity; 0 means that the
/// peer sends no more.
pub(crate) fn receive_behind(
    socket: impl AsFd,
    buffer: &mut Vec<u8>,
    most: usize,
    patience: Patience,
) -> io::Result<usize> {
    let flags = receive_patience(patience);
    let spare = buffer.spare_capacity_mut();
    let most = most.min(spare.len());
    let spare = &mut spare[..most];
    let count = retry(|| net::recv(&socket, &mut *spare, flags).map(|(read, _)| read.0.len()))?;
    let len = buffer.len() + count;
    // SAFETY: the kernel has written the first `count` bytes behind the old length.
    unsafe { buffer.set_len(len) };
    Ok(count)
}

/// Most buffers of one vectored call; the kernel refuses more (`UIO_MAXIOV`).
pub(crate) const MOST_BUFFERS: usize = 1024;

/// Receives into several buffers, at most [`MOST_BUFFERS`], what there is; never sleeps.
pub(crate) fn receive_vectored(
    socket: impl AsFd,
    buffers: &mut [IoSliceMut<'_>],
) -> io::Result<usize> {
    let most = buffers.len().min(MOST_BUFFERS);
    let mut nothing_else = RecvAncillaryBuffer::default();
    // Descriptors that came along are closed by the kernel, as there is no room for them.
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    Ok(net::recvmsg(socket, &mut buffers[..most], &mut nothing_else, flags)?.bytes)
}

/// Sends what fits of several buffers, of at most [`MOST_BUFFERS`]; never sleeps.
pub(crate) fn send_vectored(socket: impl AsFd, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
    let most = buffers.len().min(MOST_BUFFERS);
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(net::sendmsg(socket, &buffers[..most], &mut SendAncillaryBuffer::default(), flags)?)
}

/// What [`receive_packet`] found.
#[derive(Debug)]
pub(crate) struct Packet {
    /// How many bytes of the buffer it fills; 0 with no descriptor means that the peer is gone.
    pub(crate) len: usize,
    /// The descriptors that came along; those for which this process has no room are missing.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Sends one packet, with descriptors.
pub(crate) fn send_packet(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    patience: Patience,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        assert!(fits, "at most {DESCRIPTORS} descriptors travel in a packet");
    }
    let flags = SendFlags::NOSIGNAL | send_patience(patience);
    retry(|| net::sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags))?;
    Ok(())
}

/// Receives one packet, with descriptors; a longer packet than `buffer` is cut.
pub(crate) fn receive_packet(
    socket: impl AsFd,
    buffer: &mut [u8],
    patience: Patience,
) -> io::Result<Packet> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | receive_patience(patience);
    let message =
        retry(|| net::recvmsg(&socket, &mut [IoSliceMut::new(&mut *buffer)], &mut control, flags))?;
    Ok(Packet { len: message.bytes, descriptors: rights(control) })
}

/// Looks at the first waiting packet without taking it or what travels with it; never sleeps.
pub(crate) fn peek_packet(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    Ok(retry(|| net::recv(&socket, &mut *buffer, flags))?.0)
}

/// Says to the peer that no more comes.
pub(crate) fn hang_up(socket: impl AsFd) {
    // The one way to fail is that the peer is gone already.
    let _ = net::shutdown(socket, Shutdown::Write);
}

/// Whether the peer is gone; never sleeps.
pub(crate) fn is_hung_up(socket: impl AsFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut ends = [PollFd::new(&socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let asked = retry(|| poll(&mut ends, Some(&now)));
    asked.is_ok() && ends[0].revents().contains(PollFlags::HUP)
}

/// Who made a packet socket pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Maker {
    /// Its process id; 0 where the caller cannot see that process.
    pub(crate) pid: u32,
    /// Its user.
    pub(crate) user: u32,
}

/// Who made the pair that `descriptor` is an end of.
///
/// # Errors
///
/// If the descriptor is not open, or no Unix packet socket.
pub(crate) fn packet_pair_maker(descriptor: BorrowedFd<'_>) -> io::Result<Maker> {
    if net::sockopt::socket_domain(descriptor)? != AddressFamily::UNIX
        || net::sockopt::socket_type(descriptor)? != SocketType::SEQPACKET
    {
        return Err(io::Error::other("it is another kind of socket"));
    }
    let peer = unix_socket::peer(descriptor)?;
    Ok(Maker { pid: peer.pid, user: peer.user })
}

fn send_patience(patience: Patience) -> SendFlags {
    match patience {
        Patience::Wait => SendFlags::empty(),
        Patience::Now => SendFlags::DONTWAIT,
    }
}

fn receive_patience(patience: Patience) -> RecvFlags {
    match patience {
        Patience::Wait => RecvFlags::empty(),
        Patience::Now => RecvFlags::DONTWAIT,
    }
}

/// Repeats a call that a signal's handler has interrupted.
fn retry<T>(call: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    rustix::io::retry_on_intr(call)
}
