//! Internet sockets: the calls that std does not have, and those that never sleep.
//!
//! `O_NONBLOCK` belongs to a socket, not to a descriptor: whoever has a copy may take it away. So every
//! call that can says by itself that it does not sleep (`MSG_DONTWAIT`), and none raises SIGPIPE.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, sockopt,
};

const MADE: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
const SENT: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// A TCP socket that does not block, of the family of `address`.
pub(crate) fn stream_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    Ok(net::socket_with(family, SocketType::STREAM, MADE, Some(ipproto::TCP))?)
}

/// Begins to connect, or asks what became of that; `WouldBlock` while it is under way.
///
/// The kernel answers the same call, made again, with the end of the first: so nothing need be known of
/// whether a wait in between ended early.
pub(crate) fn connect(socket: impl AsFd, address: &SocketAddr) -> io::Result<()> {
    match net::connect(socket, address) {
        Err(Errno::INPROGRESS | Errno::ALREADY) => Err(io::ErrorKind::WouldBlock.into()),
        Err(Errno::ISCONN) => Ok(()),
        done => Ok(done?),
    }
}

/// Has a listener keep as many connections that wait to be accepted as the system allows.
pub(crate) fn lengthen_backlog(listener: impl AsFd) -> io::Result<()> {
    Ok(net::listen(listener, i32::MAX)?)
}

/// Takes a connection; one that its peer has given up meanwhile is passed over. The new socket does not
/// block.
pub(crate) fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, SocketAddr)> {
    loop {
        match net::acceptfrom_with(&listener, MADE) {
            Err(Errno::CONNABORTED) => {}
            Err(error) => return Err(error.into()),
            Ok((socket, from)) => return Ok((socket, address(from)?)),
        }
    }
}

/// What the kernel says of a peer, as an address.
fn address(any: Option<net::SocketAddrAny>) -> io::Result<SocketAddr> {
    Ok(any.ok_or(Errno::AFNOSUPPORT)?.try_into()?)
}

/// Receives what stays there to be received again.
pub(crate) fn peek(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(net::recv(socket, buffer, RecvFlags::PEEK | RecvFlags::DONTWAIT)?.0)
}

/// Receives a packet, and where it is from; what does not fit into `buffer` is gone.
pub(crate) fn receive_from(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr)> {
    let (count, _, from) = net::recvfrom(socket, buffer, RecvFlags::DONTWAIT)?;
    Ok((count, address(from)?))
}

/// As [`receive_from`]; the packet stays there to be received again.
pub(crate) fn peek_from(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let (count, _, from) = net::recvfrom(socket, buffer, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok((count, address(from)?))
}

/// Sends a packet.
pub(crate) fn send_to(socket: impl AsFd, bytes: &[u8], to: &SocketAddr) -> io::Result<usize> {
    Ok(net::sendto(socket, bytes, SENT, to)?)
}

/// For how long closing waits until all has arrived; `None` is not at all.
pub(crate) fn linger(socket: impl AsFd) -> io::Result<Option<Duration>> {
    Ok(sockopt::socket_linger(socket)?)
}

pub(crate) fn set_linger(socket: impl AsFd, linger: Option<Duration>) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(socket, linger)?)
}

/// How many routers a packet to an IPv6 group passes.
pub(crate) fn multicast_hops_v6(socket: impl AsFd) -> io::Result<u32> {
    Ok(sockopt::ipv6_multicast_hops(socket)?)
}

pub(crate) fn set_multicast_hops_v6(socket: impl AsFd, hops: u32) -> io::Result<()> {
    Ok(sockopt::set_ipv6_multicast_hops(socket, hops)?)
}
