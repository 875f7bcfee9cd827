//! A Unix connection.
//!
//! A short read does not say that there is no more: the kernel ends it behind bytes that came with a
//! descriptor, or from another sender. So only `WouldBlock` begins a wait here.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::Duration;

use super::room;
use crate::net::timeout::Timeouts;
use crate::reactor::{Direction, Source};
use crate::sys::io::unix_socket;
use crate::sys::io::{Blocking, socket};
use crate::sys::process::descriptors;

/// A connection between two processes of one machine, or within one; as
/// [`std::os::unix::net::UnixStream`].
///
/// Reading and writing wait if they have to. They end with [`Interrupted`](crate::Interrupted), as an error, when the task
/// is cancelled, and with `TimedOut` when a timeout is over. To write to a peer that is gone is the error `BrokenPipe`,
/// and no SIGPIPE. Reading into an empty buffer and writing nothing is `Ok(0)` at once.
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
    timeouts: Timeouts,
}

/// Who is at the other end of a connection: [`UnixStream::peer_cred`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct UCred {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The process id; `None` for a process that this one cannot see, in another namespace.
    pub pid: Option<u32>,
}

impl UnixStream {
    /// Connects to the listener at `path`.
    ///
    /// While the listener's backlog is full, this call waits. The kernel does not tell when there is room, so
    /// it tries again, at most 5 milliseconds apart.
    ///
    /// # Errors
    ///
    /// `NotFound`, `PermissionDenied` by the path; `ConnectionRefused` if nobody listens; `InvalidInput` for a path that
    /// is longer than 107 bytes or has a zero in it; [`Interrupted`](crate::Interrupted) if the wait is ended from outside.
    pub fn connect(path: impl AsRef<Path>) -> io::Result<UnixStream> {
        let path = path.as_ref();
        Self::connect_by(|socket| socket.connect(path))
    }

    /// Connects to the listener at `address`, which may be one without a file.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        Self::connect_by(|socket| socket.connect_addr(address))
    }

    fn connect_by(
        connect: impl Fn(&net::UnixDatagram) -> io::Result<()>,
    ) -> io::Result<UnixStream> {
        // std connects a socket that exists as a datagram socket only; the system call is the same.
        let socket = net::UnixDatagram::from(unix_socket::stream()?);
        room::retry(None, || connect(&socket))?;
        let stream = net::UnixStream::from(OwnedFd::from(socket));
        Ok(Self::of_nonblocking(stream, Timeouts::default()))
    }

    /// Two ends that are connected to each other.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((Self::from_new(one)?, Self::from_new(other)?))
    }

    /// Takes a socket that was just made and has no timeouts.
    pub(super) fn from_new(stream: net::UnixStream) -> io::Result<UnixStream> {
        Ok(UnixStream { source: Source::new(stream)?, timeouts: Timeouts::default() })
    }

    fn of_nonblocking(stream: net::UnixStream, timeouts: Timeouts) -> UnixStream {
        UnixStream { source: Source::of_nonblocking(stream), timeouts }
    }

    /// A second handle of the same connection. It begins with the same timeouts; later each has its own.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn try_clone(&self) -> io::Result<UnixStream> {
        Ok(Self::of_nonblocking(self.source.get().try_clone()?, self.timeouts.clone()))
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixStream::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixStream::peer_addr`].
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Who was at the other end when the connection (or the pair) was made.
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
    /// The kernel's, for a descriptor that is no socket.
    pub fn peer_cred(&self) -> io::Result<UCred> {
        let peer = unix_socket::peer(self.as_fd())?;
        let pid = Some(peer.pid).filter(|&pid| pid != 0);
        Ok(UCred { uid: peer.user, gid: peer.group, pid })
    }

    /// Ends reading, writing or both, for all handles of the connection; those that wait come back.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixStream::shutdown`].
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.source.get().shutdown(how)
    }

    /// For how long a read waits before it fails with `TimedOut`; `None`, as at first, is for good.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a timeout of zero.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.timeouts.read.set(timeout)
    }

    /// For how long a write waits before it fails with `TimedOut`; `None`, as at first, is for good.
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
    /// As [`std::os::unix::net::UnixStream::take_error`].
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
        self.source.receive_piece(buffer, self.timeouts.read.get())
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        self.source.retry(Direction::Read, self.timeouts.read.get(), |stream| {
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
        self.source.retry(Direction::Write, self.timeouts.write.get(), |stream| {
            socket::send(stream, bytes, Blocking::No)
        })
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        self.source.retry(Direction::Write, self.timeouts.write.get(), |stream| {
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

/// Those of a socket of std; a descriptor that is no socket has none.
fn timeouts(socket: &net::UnixStream) -> Timeouts {
    let (read, write) = (socket.read_timeout(), socket.write_timeout());
    Timeouts::of(read.ok().flatten(), write.ok().flatten())
}

/// Takes the timeouts along. From now on the socket does not block, nor do its clones of std.
impl From<net::UnixStream> for UnixStream {
    fn from(stream: net::UnixStream) -> UnixStream {
        // A descriptor that is not open says so at its first use.
        let _ = descriptors::set_blocking(stream.as_fd(), false);
        let timeouts = timeouts(&stream);
        UnixStream::of_nonblocking(stream, timeouts)
    }
}

impl From<OwnedFd> for UnixStream {
    fn from(descriptor: OwnedFd) -> UnixStream {
        net::UnixStream::from(descriptor).into()
    }
}

/// Takes the timeouts along. From now on the socket blocks; its clones of trine go on as before.
impl From<UnixStream> for net::UnixStream {
    fn from(stream: UnixStream) -> net::UnixStream {
        let socket = stream.source.into_inner();
        // Only a descriptor that is no socket refuses.
        let _ = socket.set_read_timeout(stream.timeouts.read.get());
        let _ = socket.set_write_timeout(stream.timeouts.write.get());
        socket
    }
}

/// As into std's type.
impl From<UnixStream> for OwnedFd {
    fn from(stream: UnixStream) -> OwnedFd {
        net::UnixStream::from(stream).into()
    }
}
