//! Internet sockets: the calls that std does not have, and calls that never sleep.
//!
//! `O_NONBLOCK` belongs to a socket, not to a descriptor: any process with a copy may clear it. So
//! every call that can asks not to sleep by its own flag (`MSG_DONTWAIT`), and none raises SIGPIPE.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SocketFlags, SocketType, ipproto, sockopt};

use super::Blocking;
use super::socket::send_flags;

const NEW: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Makes a TCP socket that does not block, of the family of `address`.
pub(crate) fn stream_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    Ok(net::socket_with(family, SocketType::STREAM, NEW, Some(ipproto::TCP))?)
}

/// Begins to connect, or returns the result of that; `WouldBlock` while it is in progress.
///
/// The kernel answers the same call, made again, with the result of the first. So the caller need
/// not know whether a wait in between ended early.
pub(crate) fn connect(socket: impl AsFd, address: &SocketAddr) -> io::Result<()> {
    match net::connect(socket, address) {
        Err(Errno::INPROGRESS | Errno::ALREADY) => Err(io::ErrorKind::WouldBlock.into()),
        Err(Errno::ISCONN) => Ok(()),
        done => Ok(done?),
    }
}

/// Has a listener queue as many connections as the system allows.
pub(crate) fn lengthen_backlog(listener: impl AsFd) -> io::Result<()> {
    Ok(net::listen(listener, i32::MAX)?)
}

/// Accepts a connection, skipping those that their peers have given up. The new socket does not
/// block.
pub(crate) fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, SocketAddr)> {
    loop {
        match net::acceptfrom_with(&listener, NEW) {
            Err(Errno::CONNABORTED) => {}
            Err(error) => return Err(error.into()),
            Ok((socket, from)) => return Ok((socket, address(from)?)),
        }
    }
}

/// Converts the address of a peer as the kernel returns it.
fn address(any: Option<net::SocketAddrAny>) -> io::Result<SocketAddr> {
    Ok(any.ok_or(Errno::AFNOSUPPORT)?.try_into()?)
}

/// Receives a packet, and the address of its sender. Bytes that do not fit into `buffer` are lost.
pub(crate) fn receive_from(
    socket: impl AsFd,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr)> {
    let (count, _, from) = net::recvfrom(socket, buffer, RecvFlags::DONTWAIT)?;
    Ok((count, address(from)?))
}

/// Like [`receive_from`], without removing the packet from the socket.
pub(crate) fn peek_from(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    let (count, _, from) = net::recvfrom(socket, buffer, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok((count, address(from)?))
}

/// Sends a packet.
pub(crate) fn send_to(socket: impl AsFd, bytes: &[u8], to: &SocketAddr) -> io::Result<usize> {
    Ok(net::sendto(socket, bytes, send_flags(Blocking::No), to)?)
}

/// Returns how long closing waits until all bytes have arrived; `None` if it does not wait.
pub(crate) fn linger(socket: impl AsFd) -> io::Result<Option<Duration>> {
    Ok(sockopt::socket_linger(socket)?)
}

pub(crate) fn set_linger(socket: impl AsFd, linger: Option<Duration>) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(socket, linger)?)
}

/// Returns how many routers a packet to an IPv6 group passes.
pub(crate) fn multicast_hops_v6(socket: impl AsFd) -> io::Result<u32> {
    Ok(sockopt::ipv6_multicast_hops(socket)?)
}

pub(crate) fn set_multicast_hops_v6(socket: impl AsFd, hops: u32) -> io::Result<()> {
    Ok(sockopt::set_ipv6_multicast_hops(socket, hops)?)
}
