//! Conversions from and to std's sockets and bare descriptors.
//!
//! They are `From`, not `TryFrom`: the only step that the kernel could refuse is to make the socket
//! non-blocking, and it refuses that only for a descriptor that is not open. A socket of std always
//! is.

use std::fmt;
use std::io;
use std::net;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::timeout::Timeouts;
use super::{TcpListener, TcpStream, UdpSocket};
use crate::reactor::Source;

/// Puts a socket of std into non-blocking mode.
fn source<S: AsFd>(socket: S) -> Source<S> {
    Source::new(socket).expect("the descriptor of a socket is open")
}

/// Puts a socket of std into the mode that its handle had here, after it was made to block.
pub(super) fn as_set<S>(
    socket: S,
    nonblocking: bool,
    set: impl FnOnce(&S, bool) -> io::Result<()>,
) -> S {
    if nonblocking {
        // The one way to fail is a descriptor that is closed already.
        let _ = set(&socket, true);
    }
    socket
}

impl From<net::TcpListener> for TcpListener {
    fn from(listener: net::TcpListener) -> TcpListener {
        TcpListener::new(source(listener))
    }
}

impl From<net::TcpStream> for TcpStream {
    /// Keeps the timeouts.
    fn from(stream: net::TcpStream) -> TcpStream {
        let timeouts = Timeouts::from_std(stream.read_timeout(), stream.write_timeout());
        TcpStream { source: source(stream), timeouts }
    }
}

impl From<net::UdpSocket> for UdpSocket {
    /// Keeps the timeouts.
    fn from(socket: net::UdpSocket) -> UdpSocket {
        let timeouts = Timeouts::from_std(socket.read_timeout(), socket.write_timeout());
        UdpSocket { source: source(socket), timeouts }
    }
}

impl From<TcpListener> for net::TcpListener {
    /// Puts the socket back into blocking mode, unless the listener never waits.
    fn from(listener: TcpListener) -> net::TcpListener {
        let nonblocking = listener.nonblocking.into_inner();
        as_set(listener.source.into_inner(), nonblocking, net::TcpListener::set_nonblocking)
    }
}

impl From<TcpStream> for net::TcpStream {
    /// Puts the socket back into blocking mode, unless the handle never waits. Keeps the timeouts.
    fn from(stream: TcpStream) -> net::TcpStream {
        let socket = stream.source.into_inner();
        // Refused only for zero, which they are not.
        let _ = socket.set_read_timeout(stream.timeouts.read.get());
        let _ = socket.set_write_timeout(stream.timeouts.write.get());
        as_set(socket, stream.timeouts.is_nonblocking(), net::TcpStream::set_nonblocking)
    }
}

impl From<UdpSocket> for net::UdpSocket {
    /// Puts the socket back into blocking mode, unless the handle never waits. Keeps the timeouts.
    fn from(udp: UdpSocket) -> net::UdpSocket {
        let socket = udp.source.into_inner();
        // Refused only for zero, which they are not.
        let _ = socket.set_read_timeout(udp.timeouts.read.get());
        let _ = socket.set_write_timeout(udp.timeouts.write.get());
        as_set(socket, udp.timeouts.is_nonblocking(), net::UdpSocket::set_nonblocking)
    }
}

impl From<OwnedFd> for TcpListener {
    fn from(descriptor: OwnedFd) -> TcpListener {
        net::TcpListener::from(descriptor).into()
    }
}

impl From<OwnedFd> for TcpStream {
    fn from(descriptor: OwnedFd) -> TcpStream {
        net::TcpStream::from(descriptor).into()
    }
}

impl From<OwnedFd> for UdpSocket {
    fn from(descriptor: OwnedFd) -> UdpSocket {
        net::UdpSocket::from(descriptor).into()
    }
}

impl From<TcpListener> for OwnedFd {
    fn from(listener: TcpListener) -> OwnedFd {
        net::TcpListener::from(listener).into()
    }
}

impl From<TcpStream> for OwnedFd {
    fn from(stream: TcpStream) -> OwnedFd {
        net::TcpStream::from(stream).into()
    }
}

impl From<UdpSocket> for OwnedFd {
    fn from(socket: UdpSocket) -> OwnedFd {
        net::UdpSocket::from(socket).into()
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.get().fmt(f)
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.get().fmt(f)
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.get().fmt(f)
    }
}
