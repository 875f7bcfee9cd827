//! Connections.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::time::Duration;

use super::ToSocketAddrs;
use super::address::first;
use super::timeout::{Timeouts, refuse_zero};
use crate::reactor::{Direction, Source};
use crate::sys;
use crate::sys::io::Blocking;
use crate::sys::io::socket::{self, MOST_BUFFERS};

/// Most bytes of one read; more than any socket holds.
const MOST: usize = 1 << 30;

/// A connection; as [`std::net::TcpStream`].
///
/// [`Read`] and [`Write`] are there for `&TcpStream` too: one coroutine may read while another writes. A
/// read waits until there is something, a write until there is room for a part: a peer that does not read
/// keeps its writer waiting, and nothing is buffered here. Closed when dropped.
///
/// A peer that is gone is an error of the call (`BrokenPipe`, `ConnectionReset`), never a signal.
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

    /// Connects to `address`; to the first that answers, if it stands for several.
    ///
    /// If the caller is interrupted meanwhile, the attempt is given up and its descriptor closed.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused`, `TimedOut` (the kernel's patience is about two minutes), `HostUnreachable` and
    /// others of the kernel, for the last address that was tried; those of
    /// [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs); what interrupts the caller.
    pub fn connect<A: ToSocketAddrs>(address: A) -> io::Result<TcpStream> {
        first(address, |address| TcpStream::open(address, None))
    }

    /// Connects to one address, within `timeout`.
    ///
    /// [`time::timeout`](crate::time::timeout) limits a [`connect`](Self::connect) to a name.
    ///
    /// # Errors
    ///
    /// As `connect`; `TimedOut` after `timeout`, `InvalidInput` if that is zero.
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

    /// Where the other end is.
    ///
    /// # Errors
    ///
    /// `NotConnected` if it was reset; the kernel's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().peer_addr()
    }

    /// Where this end is.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Ends reading, writing or both, also for those who wait in it now: reads find the end, writes
    /// `BrokenPipe`. The end of writing is what the peer reads as the end.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the connection is gone already.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.source.get().shutdown(how)
    }

    /// Another handle of the same connection, with timeouts of its own, which begin as this one's.
    ///
    /// # Errors
    ///
    /// If there is no room for one more descriptor.
    pub fn try_clone(&self) -> io::Result<TcpStream> {
        let source = Source::of_nonblocking(self.source.get().try_clone()?);
        Ok(TcpStream { source, timeouts: self.timeouts.clone() })
    }

    /// The longest time that a read waits; `None` is no limit. Where std's read says `WouldBlock` then, one here
    /// says `TimedOut`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is zero.
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

    /// The longest time that a write waits; `None` is no limit. Each `write` of a `write_all` has it anew.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is zero.
    pub fn set_write_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        self.timeouts.write.set(limit)
    }

    /// The longest time that a read waits.
    ///
    /// # Errors
    ///
    /// None; std has a `Result` here.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.read.get())
    }

    /// The longest time that a write waits.
    ///
    /// # Errors
    ///
    /// None; std has a `Result` here.
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.timeouts.write.get())
    }

    /// As a read, but the bytes stay there to be read again.
    ///
    /// # Errors
    ///
    /// As a read: `TimedOut`, `ConnectionReset`, what interrupts the caller.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let limit = self.timeouts.read.get();
        self.source.retry(Direction::Read, limit, |socket| socket::peek(socket, buffer))
    }

    /// Whether small pieces are sent at once, and not collected for a moment (`TCP_NODELAY`).
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.source.get().set_nodelay(nodelay)
    }

    /// Whether small pieces are sent at once.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.source.get().nodelay()
    }

    /// What closing does with bytes that were not sent yet (`SO_LINGER`): `None` sends them in the
    /// background; zero drops them and resets the connection; a time, in whole seconds, has the closing
    /// thread, and so the carrier, wait for them that long.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        sys::io::net::set_linger(&self.source, linger)
    }

    /// What closing does with bytes that were not sent yet.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        sys::io::net::linger(&self.source)
    }

    /// How many routers its packets may pass (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source.get().set_ttl(ttl)
    }

    /// How many routers its packets may pass.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.get().ttl()
    }

    /// Takes the error that waits in the socket (`SO_ERROR`), if one does.
    ///
    /// # Errors
    ///
    /// The kernel's.
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
        self.source.receive(&mut buffer[..most], self.timeouts.read.get())
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = buffers.len().min(MOST_BUFFERS);
        let buffers = &mut buffers[..count];
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        // `read_stream` must not take a full read for a short one, so `MOST` bounds what it believes.
        let most = buffers.iter().fold(0_usize, |sum, buffer| sum.saturating_add(buffer.len()));
        self.source.read_stream(most.min(MOST), self.timeouts.read.get(), |socket| {
            socket::receive_vectored(socket, buffers)
        })
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            // Needs no room; the kernel only says whether the connection is there.
            return socket::send(&self.source, bytes, Blocking::No);
        }
        self.source.retry(Direction::Write, self.timeouts.write.get(), |socket| {
            socket::send(socket, bytes, Blocking::No)
        })
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let buffers = &buffers[..buffers.len().min(MOST_BUFFERS)];
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return socket::send(&self.source, &[], Blocking::No);
        }
        self.source.retry(Direction::Write, self.timeouts.write.get(), |socket| {
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
