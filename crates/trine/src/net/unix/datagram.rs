//! Unix datagrams.

use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::room;
use crate::net::timeout::Timeouts;
use crate::reactor::{Direction, Source};
use crate::sys::io::{Blocking, poll, socket};
use crate::sys::process::descriptors;

/// A Unix socket for messages that keep their bounds, their order, and are not lost; as
/// [`std::os::unix::net::UnixDatagram`].
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
    source: Source<net::UnixDatagram>,
    timeouts: Timeouts,
}

impl UnixDatagram {
    /// A socket at `path`, where it makes a file, which stays when the socket is gone.
    ///
    /// # Errors
    ///
    /// As [`UnixListener::bind`](super::UnixListener::bind).
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixDatagram> {
        Self::from_new(net::UnixDatagram::bind(path)?)
    }

    /// A socket at an address, which may be one without a file.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        Self::from_new(net::UnixDatagram::bind_addr(address)?)
    }

    /// A socket without an address: it sends, and nobody can answer.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn unbound() -> io::Result<UnixDatagram> {
        Self::from_new(net::UnixDatagram::unbound()?)
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = net::UnixDatagram::pair()?;
        Ok((Self::from_new(one)?, Self::from_new(other)?))
    }

    fn from_new(socket: net::UnixDatagram) -> io::Result<UnixDatagram> {
        Ok(UnixDatagram { source: Source::new(socket)?, timeouts: Timeouts::default() })
    }

    /// Makes `path` the one to send to and to receive from.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixDatagram::connect`].
    pub fn connect(&self, path: impl AsRef<Path>) -> io::Result<()> {
        self.source.get().connect(path)
    }

    /// Makes `address` the one to send to and to receive from.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixDatagram::connect_addr`].
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.source.get().connect_addr(address)
    }

    /// A second handle of the same socket. It begins with the same timeouts; later each has its own.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn try_clone(&self) -> io::Result<UnixDatagram> {
        let source = Source::of_nonblocking(self.source.get().try_clone()?);
        Ok(UnixDatagram { source, timeouts: self.timeouts.clone() })
    }

    /// The address of this socket.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixDatagram::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// The address that this socket is connected to.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixDatagram::peer_addr`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Waits for a message and gives its length. What does not fit into `buffer` is cut off.
    ///
    /// # Errors
    ///
    /// `TimedOut` after the timeout for reading; [`Interrupted`](crate::Interrupted) if the wait is ended from outside; else as
    /// std's.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.receive(|socket| socket::receive(socket, buffer, Blocking::No), || Ok(0))
    }

    /// As [`recv`](Self::recv), and says who sent it.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let nobody = || Ok((0, SocketAddr::from_pathname("")?));
        self.receive(|socket| socket.recv_from(buffer), nobody)
    }

    /// Waits for what `attempt` receives; `end` is the answer once receiving was ended.
    ///
    /// A datagram socket that must not sleep says `WouldBlock` at its end too, where one that may sleep
    /// returns nothing: so it is asked whether this is the end.
    fn receive<T>(
        &self,
        mut attempt: impl FnMut(&net::UnixDatagram) -> io::Result<T>,
        end: impl Fn() -> io::Result<T>,
    ) -> io::Result<T> {
        let blocked = |result: &io::Result<T>| {
            result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        self.source.retry(Direction::Read, self.timeouts.read.get(), |socket| {
            let received = attempt(socket);
            if !blocked(&received) || !poll::receives_no_more(socket) {
                return received;
            }
            // A message may have come before the end.
            let last = attempt(socket);
            if blocked(&last) { end() } else { last }
        })
    }

    /// Sends a message to where this socket is connected, and waits while there is no room for it.
    ///
    /// # Errors
    ///
    /// `NotConnected`; `ConnectionRefused` if the receiver is gone; `TimedOut` after the timeout for writing;
    /// [`Interrupted`](crate::Interrupted) if the wait is ended from outside; else as std's.
    pub fn send(&self, message: &[u8]) -> io::Result<usize> {
        self.source.retry(Direction::Write, self.timeouts.write.get(), |socket| {
            socket::send(socket, message, Blocking::No)
        })
    }

    /// Sends a message to the socket at `path`, and waits while there is no room for it.
    ///
    /// The kernel does not tell when the receiver has room, so this call tries again, at most 5
    /// milliseconds apart; [`send`](Self::send) on a connected socket is woken.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); `NotFound`, `PermissionDenied` and `InvalidInput` by the path.
    pub fn send_to(&self, message: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let path = path.as_ref();
        room::retry(self.timeouts.write.get(), || self.source.get().send_to(message, path))
    }

    /// As [`send_to`](Self::send_to), by an address, which may be one without a file.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    pub fn send_to_addr(&self, message: &[u8], address: &SocketAddr) -> io::Result<usize> {
        room::retry(self.timeouts.write.get(), || self.source.get().send_to_addr(message, address))
    }

    /// Ends receiving, sending or both, for all handles of the socket; those that wait come back.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixDatagram::shutdown`].
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.source.get().shutdown(how)
    }

    /// For how long receiving waits before it fails with `TimedOut`; `None`, as at first, is for good.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a timeout of zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeouts.read.set(timeout)
    }

    /// For how long sending waits before it fails with `TimedOut`; `None`, as at first, is for good.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a timeout of zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeouts.write.set(timeout)
    }

    /// What [`set_read_timeout`](Self::set_read_timeout) was given.
    ///
    /// # Errors
    ///
    /// None; std's type has them.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.read.get())
    }

    /// What [`set_write_timeout`](Self::set_write_timeout) was given.
    ///
    /// # Errors
    ///
    /// None; std's type has them.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.write.get())
    }

    /// Takes the error that the socket has kept.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixDatagram::take_error`].
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }
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

/// Those of a socket of std; a descriptor that is no socket has none.
fn timeouts(socket: &net::UnixDatagram) -> Timeouts {
    let (read, write) = (socket.read_timeout(), socket.write_timeout());
    Timeouts::of(read.ok().flatten(), write.ok().flatten())
}

/// Takes the timeouts along. From now on the socket does not block, nor do its clones of std.
impl From<net::UnixDatagram> for UnixDatagram {
    fn from(socket: net::UnixDatagram) -> UnixDatagram {
        // A descriptor that is not open says so at its first use.
        let _ = descriptors::set_blocking(socket.as_fd(), false);
        let timeouts = timeouts(&socket);
        UnixDatagram { source: Source::of_nonblocking(socket), timeouts }
    }
}

impl From<OwnedFd> for UnixDatagram {
    fn from(descriptor: OwnedFd) -> UnixDatagram {
        net::UnixDatagram::from(descriptor).into()
    }
}

/// Takes the timeouts along. From now on the socket blocks, also by its clones: in those of trine,
/// `recv_from` and `send_to` would block their carriers.
impl From<UnixDatagram> for net::UnixDatagram {
    fn from(socket: UnixDatagram) -> net::UnixDatagram {
        let inner = socket.source.into_inner();
        // Only a descriptor that is no socket refuses.
        let _ = inner.set_read_timeout(socket.timeouts.read.get());
        let _ = inner.set_write_timeout(socket.timeouts.write.get());
        inner
    }
}

/// As into std's type.
impl From<UnixDatagram> for OwnedFd {
    fn from(socket: UnixDatagram) -> OwnedFd {
        net::UnixDatagram::from(socket).into()
    }
}
