//! Listening for connections.

use std::io;
use std::iter::FusedIterator;
use std::net::{self, SocketAddr};

use super::accept::accept;
use super::{TcpStream, ToSocketAddrs};
use crate::reactor::Source;
use crate::sys;
use crate::task::Interrupted;

/// A socket that listens for connections; as [`std::net::TcpListener`].
///
/// Any number of coroutines and threads may accept at once, by reference: each connection goes to one of
/// them. Closed when dropped.
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
}

impl TcpListener {
    /// Listens at `address`; at the first that can be had, if it stands for several. Port 0 has the
    /// kernel choose a free one, which [`local_addr`](Self::local_addr) tells.
    ///
    /// As many connections wait to be accepted as the system allows (`net.core.somaxconn`); with std, 128.
    ///
    /// A port that connections of an earlier listener still linger at may be taken (`SO_REUSEADDR`).
    ///
    /// # Errors
    ///
    /// `AddrInUse` if somebody else listens there; `AddrNotAvailable`, `PermissionDenied` and others of the
    /// kernel; those of [`to_socket_addrs`](ToSocketAddrs::to_socket_addrs).
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<TcpListener> {
        let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
        let listener = net::TcpListener::bind(&addresses[..])?;
        sys::io::net::lengthen_backlog(&listener)?;
        Ok(TcpListener { source: Source::new(listener)? })
    }

    /// Waits for a connection, and gives it with the address of its peer.
    ///
    /// A connection that its peer has given up in the queue is passed over. If there is no descriptor or no
    /// memory for one, `accept` pauses, up to 200 ms at a time, and tries again until there is; the
    /// first pause is reported on standard error.
    ///
    /// # Errors
    ///
    /// What interrupts the caller; `InvalidInput` if what the listener was made of is none.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (socket, from) = accept(&self.source, |listener| sys::io::net::accept(listener))?;
        let source = Source::of_nonblocking(net::TcpStream::from(socket));
        Ok((TcpStream::new(source), from))
    }

    /// The connections as they come: each `next` is an [`accept`](Self::accept).
    ///
    /// Ends when the caller's task is cancelled or its time is up; [`checkpoint`](crate::checkpoint) says which.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self, ended: false }
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Another handle of the same socket.
    ///
    /// # Errors
    ///
    /// If there is no room for one more descriptor.
    pub fn try_clone(&self) -> io::Result<TcpListener> {
        Ok(TcpListener { source: Source::of_nonblocking(self.source.get().try_clone()?) })
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

/// The connections of a listener, as they come; see [`TcpListener::incoming`].
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked"]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
    ended: bool,
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        if self.ended {
            return None;
        }
        let accepted = self.listener.accept();
        self.ended = accepted.as_ref().is_err_and(Interrupted::is_in);
        if self.ended { None } else { Some(accepted.map(|(stream, _)| stream)) }
    }
}

impl FusedIterator for Incoming<'_> {}
