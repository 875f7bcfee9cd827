//! The Unix connection.
//!
//! A short read does not mean that there is no more: the kernel also ends a read after bytes that
//! came with a descriptor, and between bytes of different senders. So only `WouldBlock` starts a
//! wait here.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::room;
use crate::net::convert::as_set;
use crate::net::timeout::Timeouts;
use crate::reactor::{Direction, Source};
use crate::sys::io::unix_socket;
use crate::sys::io::{Blocking, socket};
use crate::sys::process::descriptors;

/// A connection between two processes of one machine, or within one process: the counterpart of
/// [`std::os::unix::net::UnixStream`].
///
/// Reads and writes wait if they must. They fail with [`Interrupted`](crate::Interrupted) when the
/// task is cancelled, and with `TimedOut` after a timeout. Writing to a closed peer fails with
/// `BrokenPipe`, without a SIGPIPE. Reading into an empty buffer and writing nothing return `Ok(0)`
/// at once.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::Shutdown;
/// use trine::{coroutine, net::UnixStream};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut here, there) = UnixStream::pair()?;
///
/// let echo = coroutine::spawn(move || std::io::copy(&mut &there, &mut &there));
///
/// here.write_all(b"through a coroutine")?;
/// here.shutdown(Shutdown::Write)?;
/// let mut text = String::new();
/// here.read_to_string(&mut text)?;
/// assert_eq!(text, "through a coroutine");
/// assert_eq!(echo.join()??, 19);
/// # Ok(())
/// # }
/// ```
pub struct UnixStream {
    pub(crate) source: Source<net::UnixStream>,
    pub(in crate::net) timeouts: Timeouts,
}

/// Credentials of a peer, from [`UnixStream::peer_cred`].
///
/// ```
/// use trine::net::{UCred, UnixStream};
///
/// let (one, _other) = UnixStream::pair()?;
/// let UCred { uid, gid, pid, .. } = one.peer_cred()?;
/// println!("user {uid}, group {gid}, process {pid:?}");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct UCred {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Process id; `None` for a process that this one cannot see, in another namespace.
    pub pid: Option<u32>,
}

impl UnixStream {
    /// Connects to the listener at `path`.
    ///
    /// Waits while the listener's backlog is full. The kernel does not report when there is room,
    /// so this call retries at most 5 ms apart.
    ///
    /// # Errors
    ///
    /// Fails with `NotFound` or `PermissionDenied` for the path, with `ConnectionRefused` if no
    /// socket listens there, with `InvalidInput` if the path is longer than 107 bytes or contains a
    /// NUL, and when the caller is interrupted.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        let path = path.as_ref();
        Self::connect_by(|socket| socket.connect(path))
    }

    /// Connects to the listener at `address`, which need not have a file.
    ///
    /// # Errors
    ///
    /// Fails as [`connect`](Self::connect) does.
    pub fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        Self::connect_by(|socket| socket.connect_addr(address))
    }

    fn connect_by(
        connect: impl Fn(&net::UnixDatagram) -> io::Result<()>,
    ) -> io::Result<UnixStream> {
        // std connects an existing socket only as a datagram socket; the system call is the same.
        let socket = net::UnixDatagram::from(unix_socket::stream()?);
        room::retry(None, || connect(&socket))?;
        let stream = net::UnixStream::from(OwnedFd::from(socket));
        Ok(Self::of_nonblocking(stream, Timeouts::default()))
    }

    /// Creates two connected ends.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((Self::from_new(one)?, Self::from_new(other)?))
    }

    /// Takes a new socket, which has no timeouts.
    pub(in crate::net) fn from_new(stream: net::UnixStream) -> io::Result<UnixStream> {
        Ok(UnixStream { source: Source::new(stream)?, timeouts: Timeouts::default() })
    }

    fn of_nonblocking(stream: net::UnixStream, timeouts: Timeouts) -> UnixStream {
        UnixStream { source: Source::of_nonblocking(stream), timeouts }
    }

    /// Creates a second handle of the connection. It has timeouts of its own, which start as this
    /// handle's.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn try_clone(&self) -> io::Result<UnixStream> {
        Ok(Self::of_nonblocking(self.source.get().try_clone()?, self.timeouts.clone()))
    }

    /// Returns the address of this end.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixStream::local_addr`] does.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Returns the address of the other end.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixStream::peer_addr`] does.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Returns the credentials of the peer at the time when the connection (or the pair) was made.
    ///
    /// ```
    /// use trine::net::UnixStream;
    ///
    /// let (one, _other) = UnixStream::pair()?;
    /// assert_eq!(one.peer_cred()?.pid, Some(std::process::id()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the descriptor is not one of a socket.
    pub fn peer_cred(&self) -> io::Result<UCred> {
        let peer = unix_socket::peer(self.as_fd())?;
        let pid = Some(peer.pid).filter(|&pid| pid != 0);
        Ok(UCred { uid: peer.user, gid: peer.group, pid })
    }

    /// Shuts down reading, writing or both, for all handles of the connection; waiting calls
    /// return.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixStream::shutdown`] does.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.source.get().shutdown(how)
    }

    /// Sets the longest wait of a read, after which it fails with `TimedOut`; `None`, the default,
    /// sets no limit.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the timeout is zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeouts.read.set(timeout)
    }

    /// Sets the longest wait of a write, after which it fails with `TimedOut`; `None`, the default,
    /// sets no limit.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the timeout is zero.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeouts.write.set(timeout)
    }

    /// Returns the longest wait of a read.
    ///
    /// # Errors
    ///
    /// Never fails; std's signature has a `Result`.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.read.get())
    }

    /// Returns the longest wait of a write.
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
    /// Fails as [`std::os::unix::net::UnixStream::take_error`] does.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }
}

impl fmt::Debug for UnixStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.get().fmt(f)
    }
}

impl Read for &UnixStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.source.receive_piece(buffer, self.timeouts.read.limit())
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        self.source.retry(Direction::Read, self.timeouts.read.limit(), |stream| {
            socket::receive_vectored(stream, buffers)
        })
    }
}

impl Read for UnixStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

impl Write for &UnixStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.source.retry(Direction::Write, self.timeouts.write.limit(), |stream| {
            socket::send(stream, bytes, Blocking::No)
        })
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        self.source.retry(Direction::Write, self.timeouts.write.limit(), |stream| {
            socket::send_vectored(stream, buffers)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for UnixStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for UnixStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsRawFd for UnixStream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Keeps the timeouts. Puts the socket into non-blocking mode, which affects its std clones too.
impl From<net::UnixStream> for UnixStream {
    fn from(stream: net::UnixStream) -> UnixStream {
        // If the descriptor is not open, its first use reports that.
        let _ = descriptors::set_blocking(stream.as_fd(), false);
        let timeouts = Timeouts::from_std(stream.read_timeout(), stream.write_timeout());
        UnixStream::of_nonblocking(stream, timeouts)
    }
}

impl From<OwnedFd> for UnixStream {
    fn from(descriptor: OwnedFd) -> UnixStream {
        net::UnixStream::from(descriptor).into()
    }
}

/// Keeps the timeouts. Puts the socket back into blocking mode, unless the handle never waits. Its
/// trine clones work as before.
impl From<UnixStream> for net::UnixStream {
    fn from(stream: UnixStream) -> net::UnixStream {
        let socket = stream.source.into_inner();
        // Refused only if the descriptor is not one of a socket.
        let _ = socket.set_read_timeout(stream.timeouts.read.get());
        let _ = socket.set_write_timeout(stream.timeouts.write.get());
        as_set(socket, stream.timeouts.is_nonblocking(), net::UnixStream::set_nonblocking)
    }
}

/// Puts the socket back into blocking mode, as the conversion into std's type does.
impl From<UnixStream> for OwnedFd {
    fn from(stream: UnixStream) -> OwnedFd {
        net::UnixStream::from(stream).into()
    }
}
