//! The TCP connection.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::ToSocketAddrs;
use super::address::first;
use super::timeout::{Timeouts, refuse_zero};
use crate::reactor::{Direction, Source};
use crate::sys;
use crate::sys::io::Blocking;
use crate::sys::io::socket::{self, MOST_BUFFERS};

/// Limit of the bytes of one read; above the capacity of any socket.
pub(super) const MOST: usize = 1 << 30;

/// A TCP connection: the counterpart of [`std::net::TcpStream`].
///
/// `&TcpStream` implements [`Read`] and [`Write`] too, so one coroutine can read while another
/// writes. A read waits until there is data, a write until there is room for a part of its bytes.
/// Nothing is buffered here, so a peer that does not read keeps its writer waiting. Dropping it
/// closes the connection.
///
/// A peer that has closed its end causes an error (`BrokenPipe`, `ConnectionReset`), never a
/// signal.
///
/// ```
/// use std::io::{Read, Write};
/// use trine::net::{Shutdown, TcpListener, TcpStream};
/// use trine::thread;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut stream = TcpStream::connect(listener.local_addr()?)?;
/// let (peer, _) = listener.accept()?;
/// let peer = thread::spawn(move || std::io::read_to_string(&peer));
/// stream.write_all(b"that is all")?;
/// stream.shutdown(Shutdown::Write)?;
/// assert_eq!(peer.join().unwrap()?, "that is all");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpStream {
    pub(crate) source: Source<net::TcpStream>,
    pub(super) timeouts: Timeouts,
}

impl TcpStream {
    pub(super) fn new(source: Source<net::TcpStream>) -> TcpStream {
        TcpStream { source, timeouts: Timeouts::default() }
    }

    /// Takes a socket that was accepted, which does not block.
    pub(super) fn of_accepted(socket: OwnedFd) -> TcpStream {
        TcpStream::new(Source::of_nonblocking(net::TcpStream::from(socket)))
    }

    /// Connects to `address`, or to the first of its addresses that accepts.
    ///
    /// If the caller is interrupted meanwhile, the attempt ends and its descriptor is closed.
    ///
    /// # Errors
    ///
    /// Fails with `ConnectionRefused`, `TimedOut` (the kernel gives up after about two minutes),
    /// `HostUnreachable` and other errors of the kernel, for the last address that was tried; as
    /// [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs) does; and when the caller is
    /// interrupted.
    pub fn connect<A: ToSocketAddrs>(address: A) -> io::Result<TcpStream> {
        first(address, |address| TcpStream::open(address, None))
    }

    /// Connects to one address, and waits for at most `timeout`.
    ///
    /// [`time::timeout`](crate::time::timeout) limits a [`connect`](Self::connect) to a name.
    ///
    /// # Errors
    ///
    /// Fails as `connect` does, with `TimedOut` after `timeout`, and with `InvalidInput` if that is
    /// zero.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(5))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        refuse_zero(Some(timeout))?;
        TcpStream::open(address, Some(timeout))
    }

    fn open(address: &SocketAddr, timeout: Option<Duration>) -> io::Result<TcpStream> {
        let socket = net::TcpStream::from(sys::io::net::stream_socket(address)?);
        let source = Source::of_nonblocking(socket);
        source.retry(Direction::Write, timeout, |socket| sys::io::net::connect(socket, address))?;
        Ok(TcpStream::new(source))
    }

    /// Returns the address of the other end.
    ///
    /// # Errors
    ///
    /// Fails with `NotConnected` if the connection was reset, and as
    /// [`std::net::TcpStream::peer_addr`] does.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Returns the address of this end.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::TcpStream::local_addr`] does.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Shuts down reading, writing or both, also for calls that wait now: reads find the end,
    /// writes fail with `BrokenPipe`. The peer reads the end once writing is shut down.
    ///
    /// # Errors
    ///
    /// Fails with `NotConnected` if the connection is closed already.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.source.get().shutdown(how)
    }

    /// Creates a second handle of the connection. It has timeouts of its own, which start as this
    /// handle's.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        let source = Source::of_nonblocking(self.source.get().try_clone()?);
        Ok(TcpStream { source, timeouts: self.timeouts.clone() })
    }

    /// Sets the longest wait of a read; `None` sets no limit. A read that exceeds it fails with
    /// `TimedOut`, where std's fails with `WouldBlock`.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the limit is zero.
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    /// use std::time::Duration;
    /// use trine::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut stream = TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_read_timeout(Some(Duration::from_millis(1)))?;
    /// let error = stream.read(&mut [0]).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_read_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.timeouts.read.set(limit)
    }

    /// Sets the longest wait of a write; `None` sets no limit. Each `write` of a `write_all` has
    /// the whole time.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` if the limit is zero.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.timeouts.write.set(limit)
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

    /// Reads without removing the bytes, so that they are read again.
    ///
    /// # Errors
    ///
    /// Fails as a read does: with `TimedOut`, `ConnectionReset`, and when the caller is
    /// interrupted.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let limit = self.timeouts.read.limit();
        self.source.retry(Direction::Read, limit, |socket| socket::peek(socket, buffer))
    }

    /// Sends small pieces at once if true, instead of collecting them for a moment (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::TcpStream::set_nodelay`] does.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.source.get().set_nodelay(nodelay)
    }

    /// Returns true if small pieces are sent at once.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::TcpStream::nodelay`] does.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.source.get().nodelay()
    }

    /// Sets what closing does with unsent bytes (`SO_LINGER`). `None` sends them in the background.
    /// Zero drops them and resets the connection. Another time, in whole seconds, makes the closing
    /// thread, and so the carrier, wait that long for them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let stream = TcpStream::connect(listener.local_addr()?)?;
    /// stream.set_linger(Some(Duration::ZERO))?; // closing resets the connection
    /// assert_eq!(stream.linger()?, Some(Duration::ZERO));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the kernel refuses the option.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        sys::io::net::set_linger(&self.source, linger)
    }

    /// Returns what closing does with unsent bytes, as set by [`set_linger`](Self::set_linger).
    ///
    /// # Errors
    ///
    /// Fails if the kernel refuses the option.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        sys::io::net::linger(&self.source)
    }

    /// Sets the number of routers that its packets may pass (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::TcpStream::set_ttl`] does.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source.get().set_ttl(ttl)
    }

    /// Returns the number of routers that its packets may pass.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::TcpStream::ttl`] does.
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.get().ttl()
    }

    /// Takes the pending error of the socket (`SO_ERROR`), if it has one.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::TcpStream::take_error`] does.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let most = buffer.len().min(MOST);
        self.source.receive(&mut buffer[..most], self.timeouts.read.limit())
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = buffers.len().min(MOST_BUFFERS);
        let buffers = &mut buffers[..count];
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        // `read_stream` takes a read below its limit for a short one. `MOST` keeps the limit below
        // the largest possible read.
        let most = buffers.iter().fold(0_usize, |sum, buffer| sum.saturating_add(buffer.len()));
        self.source.read_stream(most.min(MOST), self.timeouts.read.limit(), |socket| {
            socket::receive_vectored(socket, buffers)
        })
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            // Needs no room; the kernel only checks the connection.
            return socket::send(&self.source, bytes, Blocking::No);
        }
        self.source.retry(Direction::Write, self.timeouts.write.limit(), |socket| {
            socket::send(socket, bytes, Blocking::No)
        })
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let buffers = &buffers[..buffers.len().min(MOST_BUFFERS)];
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return socket::send(&self.source, &[], Blocking::No);
        }
        self.source.retry(Direction::Write, self.timeouts.write.limit(), |socket| {
            socket::send_vectored(socket, buffers)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

impl Write for TcpStream {
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
