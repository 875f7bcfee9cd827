//! The TCP listener.

use std::io;
use std::iter::FusedIterator;
use std::net::{self, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::accept;
use super::{TcpStream, ToSocketAddrs};
use crate::reactor::Source;
use crate::sys;

/// A TCP socket that listens for connections: the counterpart of [`std::net::TcpListener`].
///
/// Any number of coroutines and threads may accept at once, by reference; each connection goes to
/// one of them. Dropping it closes the socket.
///
/// ```
/// use std::io::{Read, Write};
/// use trine::coroutine;
/// use trine::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// let server = coroutine::spawn(move || {
///     let (mut stream, _from) = listener.accept()?;
///     stream.write_all(b"welcome")
/// });
/// let mut text = String::new();
/// TcpStream::connect(address)?.read_to_string(&mut text)?;
/// assert_eq!(text, "welcome");
/// server.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener {
    pub(super) source: Source<net::TcpListener>,
    /// True if `accept` never waits.
    pub(super) nonblocking: AtomicBool,
}

impl TcpListener {
    pub(super) fn new(source: Source<net::TcpListener>) -> TcpListener {
        TcpListener { source, nonblocking: AtomicBool::new(false) }
    }

    /// Listens at `address`, or at the first of its addresses that is available. For port 0 the
    /// kernel chooses a free port, which [`local_addr`](Self::local_addr) returns.
    ///
    /// The queue of connections is as long as the system allows (`net.core.somaxconn`); std's holds
    /// 128. A port where connections of an earlier listener linger can be taken (`SO_REUSEADDR`).
    ///
    /// # Errors
    ///
    /// Fails with `AddrInUse` if another socket listens there, with `AddrNotAvailable`,
    /// `PermissionDenied` and other errors of the kernel, and as
    /// [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs) does.
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<TcpListener> {
        let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
        let listener = net::TcpListener::bind(&addresses[..])?;
        sys::io::net::lengthen_backlog(&listener)?;
        Ok(TcpListener::new(Source::new(listener)?))
    }

    /// Waits for a connection, and returns it with the address of its peer.
    ///
    /// Skips a connection that its peer has closed in the queue. While no descriptor or memory is
    /// left, `accept` pauses, up to 200 ms at a time, and retries; the first pause is reported on
    /// standard error.
    ///
    /// # Errors
    ///
    /// Fails when the caller is interrupted, and with `InvalidInput` if the listener was made of
    /// another kind of descriptor.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let nonblocking = self.nonblocking.load(Relaxed);
        let (socket, from) =
            accept::accept(&self.source, nonblocking, |listener| sys::io::net::accept(listener))?;
        Ok((TcpStream::of_accepted(socket), from))
    }

    /// Returns an iterator over the connections: each `next` is an [`accept`](Self::accept).
    ///
    /// It ends when the caller's task is cancelled or reaches its deadline;
    /// [`checkpoint`](crate::checkpoint) tells which.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self, ended: false }
    }

    /// Returns the address at which it listens.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::TcpListener::local_addr`] does.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Creates a second handle of the socket.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        let copy = TcpListener::new(Source::of_nonblocking(self.source.get().try_clone()?));
        copy.nonblocking.store(self.nonblocking.load(Relaxed), Relaxed);
        Ok(copy)
    }

    /// Sets the number of routers that packets of its connections may pass (`IP_TTL`).
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::TcpListener::set_ttl`] does.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.source.get().set_ttl(ttl)
    }

    /// Returns the number of routers that packets of its connections may pass.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::TcpListener::ttl`] does.
    pub fn ttl(&self) -> io::Result<u32> {
        self.source.get().ttl()
    }

    /// Takes the pending error of the socket (`SO_ERROR`), if it has one.
    ///
    /// # Errors
    ///
    /// Fails as [`std::net::TcpListener::take_error`] does.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }
}

/// Iterator over the connections of a listener; made by [`TcpListener::incoming`].
#[derive(Debug)]
#[must_use = "iterators are lazy and do nothing unless consumed"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
    ended: bool,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        accept::next(&mut self.ended, || self.listener.accept())
    }
}

impl FusedIterator for Incoming<'_> {}
