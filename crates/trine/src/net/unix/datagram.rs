//! The Unix datagram socket.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::room;
use crate::net::convert::as_set;
use crate::net::timeout::Timeouts;
use crate::reactor::{Direction, Source};
use crate::sys::io::{Blocking, poll, socket};
use crate::sys::process::descriptors;

/// A Unix socket for messages: the counterpart of [`std::os::unix::net::UnixDatagram`].
///
/// Messages keep their boundaries and their order, and are never lost.
///
/// ```
/// use trine::{coroutine, net::UnixDatagram};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (here, there) = UnixDatagram::pair()?;
///
/// let task = coroutine::spawn(move || -> std::io::Result<_> {
///     let mut buffer = [0; 100];
///     Ok([there.recv(&mut buffer)?, there.recv(&mut buffer)?])
/// });
///
/// here.send(b"one")?;
/// here.send(b"another")?;
/// assert_eq!(task.join()??, [3, 7]);
/// # Ok(())
/// # }
/// ```
pub struct UnixDatagram {
    pub(in crate::net) source: Source<net::UnixDatagram>,
    pub(in crate::net) timeouts: Timeouts,
}

impl UnixDatagram {
    /// Binds a socket to `path`, and creates a file there, which outlives the socket.
    ///
    /// # Errors
    ///
    /// Fails as [`UnixListener::bind`](super::UnixListener::bind) does.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        Self::from_new(net::UnixDatagram::bind(path)?)
    }

    /// Binds a socket to an address, which need not have a file.
    ///
    /// # Errors
    ///
    /// Fails as [`bind`](Self::bind) does.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        Self::from_new(net::UnixDatagram::bind_addr(address)?)
    }

    /// Creates a socket without an address. It can send, but receivers cannot reply.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn unbound() -> io::Result<UnixDatagram> {
        Self::from_new(net::UnixDatagram::unbound()?)
    }

    /// Creates two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = net::UnixDatagram::pair()?;
        Ok((Self::from_new(one)?, Self::from_new(other)?))
    }

    fn from_new(socket: net::UnixDatagram) -> io::Result<UnixDatagram> {
        Ok(UnixDatagram { source: Source::new(socket)?, timeouts: Timeouts::default() })
    }

    /// Connects to the socket at `path`: sends to it, and receives only from it.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixDatagram::connect`] does.
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.source.get().connect(path)
    }

    /// Connects to the socket at `address`: sends to it, and receives only from it.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixDatagram::connect_addr`] does.
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.source.get().connect_addr(address)
    }

    /// Creates a second handle of the socket. It has timeouts of its own, which start as this
    /// handle's.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn try_clone(&self) -> io::Result<UnixDatagram> {
        let source = Source::of_nonblocking(self.source.get().try_clone()?);
        Ok(UnixDatagram { source, timeouts: self.timeouts.clone() })
    }

    /// Returns the address of this socket.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixDatagram::local_addr`] does.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Returns the address to which this socket is connected.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixDatagram::peer_addr`] does.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Waits for a message and returns its length. Bytes that do not fit into `buffer` are lost.
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut` after the read timeout, when the caller is interrupted, and as
    /// [`std::os::unix::net::UnixDatagram::recv`] does.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(|socket| receive(socket, buffer))
    }

    /// Waits for a message, and returns its length and its sender's address.
    ///
    /// # Errors
    ///
    /// Fails as [`recv`](Self::recv) does.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.receive(|socket| receive_from(socket, buffer))
    }

    /// Waits until `attempt` receives a message.
    fn receive<T>(
        &self,
        attempt: impl FnMut(&net::UnixDatagram) -> io::Result<T>,
    ) -> io::Result<T> {
        self.source.retry(Direction::Read, self.timeouts.read.limit(), attempt)
    }

    /// Sends a message to the connected socket, and waits while there is no room for it.
    ///
    /// # Errors
    ///
    /// Fails with `NotConnected`, with `ConnectionRefused` if the receiver is closed, with
    /// `TimedOut` after the write timeout, when the caller is interrupted, and as
    /// [`std::os::unix::net::UnixDatagram::send`] does.
    pub fn send(&self, message: &[u8]) -> io::Result<usize> {
        self.source.retry(Direction::Write, self.timeouts.write.limit(), |socket| {
            socket::send(socket, message, Blocking::No)
        })
    }

    /// Sends a message to the socket at `path`, and waits while there is no room for it.
    ///
    /// The kernel does not report when that socket has room, so this call retries at most 5 ms
    /// apart. A [`send`](Self::send) on a connected socket is woken.
    ///
    /// # Errors
    ///
    /// Fails as [`send`](Self::send) does, and with `NotFound`, `PermissionDenied` or
    /// `InvalidInput` for the path.
    pub fn send_to(&self, message: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let path = path.as_ref();
        room::retry(self.timeouts.write.limit(), || self.source.get().send_to(message, path))
    }

    /// Sends a message like [`send_to`](Self::send_to), to an address, which need not have a file.
    ///
    /// # Errors
    ///
    /// Fails as [`send_to`](Self::send_to) does.
    pub fn send_to_addr(&self, message: &[u8], address: &SocketAddr) -> io::Result<usize> {
        room::retry(self.timeouts.write.limit(), || {
            self.source.get().send_to_addr(message, address)
        })
    }

    /// Shuts down receiving, sending or both, for all handles of the socket; waiting calls return.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixDatagram::shutdown`] does.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.source.get().shutdown(how)
    }

    /// Sets the longest wait for a message, after which receiving fails with `TimedOut`; `None`,
    /// the default, sets no limit.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the timeout is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeouts.read.set(timeout)
    }

    /// Sets the longest wait of a send, after which it fails with `TimedOut`; `None`, the default,
    /// sets no limit.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the timeout is zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeouts.write.set(timeout)
    }

    /// Returns the longest wait for a message.
    ///
    /// # Errors
    ///
    /// Never fails; std's signature has a `Result`.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.read.get())
    }

    /// Returns the longest wait of a send.
    ///
    /// # Errors
    ///
    /// Never fails; std's signature has a `Result`.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.write.get())
    }

    /// Takes the pending error of the socket (`SO_ERROR`), if it has one.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixDatagram::take_error`] does.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }
}

/// Receives a message, if there is one; 0 bytes if receiving was shut down.
pub(in crate::net) fn receive(socket: &net::UnixDatagram, buffer: &mut [u8]) -> io::Result<usize> {
    or_end(socket, |socket| socket::receive(socket, buffer, Blocking::No), || Ok(0))
}

/// Like [`receive`], with the sender's address.
pub(in crate::net) fn receive_from(
    socket: &net::UnixDatagram,
    buffer: &mut [u8],
) -> io::Result<(usize, SocketAddr)> {
    let end = || Ok((0, SocketAddr::from_pathname("")?));
    or_end(socket, |socket| socket.recv_from(buffer), end)
}

/// Like [`receive`], without removing the message.
pub(in crate::net) fn peek(socket: &net::UnixDatagram, buffer: &mut [u8]) -> io::Result<usize> {
    or_end(socket, |socket| socket::peek(socket, buffer), || Ok(0))
}

/// Calls `attempt`; returns `end` if receiving was shut down.
///
/// After a shutdown, a non-blocking datagram socket still fails with `WouldBlock`, where a blocking
/// one returns 0. So the kernel is asked if this is the end.
fn or_end<T>(
    socket: &net::UnixDatagram,
    mut attempt: impl FnMut(&net::UnixDatagram) -> io::Result<T>,
    end: impl Fn() -> io::Result<T>,
) -> io::Result<T> {
    let blocked = |result: &io::Result<T>| {
        result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    };
    let received = attempt(socket);
    if !blocked(&received) || !poll::receives_no_more(socket) {
        return received;
    }
    // A message may have come before the end.
    let last = attempt(socket);
    if blocked(&last) { end() } else { last }
}

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.get().fmt(f)
    }
}

impl AsFd for UnixDatagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsRawFd for UnixDatagram {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Keeps the timeouts. Puts the socket into non-blocking mode, which affects its std clones too.
impl From<net::UnixDatagram> for UnixDatagram {
    fn from(socket: net::UnixDatagram) -> UnixDatagram {
        // If the descriptor is not open, its first use reports that.
        let _ = descriptors::set_blocking(socket.as_fd(), false);
        let timeouts = Timeouts::from_std(socket.read_timeout(), socket.write_timeout());
        UnixDatagram { source: Source::of_nonblocking(socket), timeouts }
    }
}

impl From<OwnedFd> for UnixDatagram {
    fn from(descriptor: OwnedFd) -> UnixDatagram {
        net::UnixDatagram::from(descriptor).into()
    }
}

/// Keeps the timeouts. Puts the socket back into blocking mode, unless the handle never waits. In
/// its trine clones, `recv_from` and `send_to` then block their carriers.
impl From<UnixDatagram> for net::UnixDatagram {
    fn from(socket: UnixDatagram) -> net::UnixDatagram {
        let inner = socket.source.into_inner();
        // Refused only if the descriptor is not one of a socket.
        let _ = inner.set_read_timeout(socket.timeouts.read.get());
        let _ = inner.set_write_timeout(socket.timeouts.write.get());
        as_set(inner, socket.timeouts.is_nonblocking(), net::UnixDatagram::set_nonblocking)
    }
}

/// Puts the socket back into blocking mode, as the conversion into std's type does.
impl From<UnixDatagram> for OwnedFd {
    fn from(socket: UnixDatagram) -> OwnedFd {
        net::UnixDatagram::from(socket).into()
    }
}
