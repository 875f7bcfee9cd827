//! The Unix listener.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::UnixStream;
use crate::net::accept;
use crate::net::convert::as_set;
use crate::reactor::Source;
use crate::sys::process::descriptors;

/// A Unix socket that listens for connections: the counterpart of
/// [`std::os::unix::net::UnixListener`].
///
/// The file at its path outlives the listener; remove it before the next `bind`.
///
/// ```
/// use std::io::{Read, Write};
/// use trine::coroutine;
/// use trine::net::{UnixListener, UnixStream};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let path = std::env::temp_dir().join(format!("listener-{}", std::process::id()));
/// let listener = UnixListener::bind(&path)?;
///
/// let server = coroutine::spawn(move || -> std::io::Result<()> {
///     let (mut stream, _) = listener.accept()?;
///     stream.write_all(b"hello")
/// });
///
/// let mut text = String::new();
/// UnixStream::connect(&path)?.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// server.join()??;
/// std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
pub struct UnixListener {
    pub(in crate::net) source: Source<net::UnixListener>,
    /// True if `accept` never waits.
    pub(in crate::net) nonblocking: AtomicBool,
}

impl UnixListener {
    fn new(source: Source<net::UnixListener>) -> UnixListener {
        UnixListener { source, nonblocking: AtomicBool::new(false) }
    }

    /// Listens at `path`, and creates a file there.
    ///
    /// # Errors
    ///
    /// Fails with `AddrInUse` if there is a file, with `InvalidInput` if the path is longer than
    /// 107 bytes or contains a NUL, and if the file cannot be created.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        Ok(UnixListener::new(Source::new(net::UnixListener::bind(path)?)?))
    }

    /// Listens at an address, which need not have a file
    /// ([`from_abstract_name`](std::os::linux::net::SocketAddrExt::from_abstract_name)).
    ///
    /// ```
    /// use std::os::linux::net::SocketAddrExt;
    /// use std::os::unix::net::SocketAddr;
    /// use trine::net::{UnixListener, UnixStream};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let name = format!("an example of process {}", std::process::id());
    /// let address = SocketAddr::from_abstract_name(name)?;
    /// let listener = UnixListener::bind_addr(&address)?;
    /// let _stream = UnixStream::connect_addr(&address)?;
    /// listener.accept()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`bind`](Self::bind) does.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        Ok(UnixListener::new(Source::new(net::UnixListener::bind_addr(address)?)?))
    }

    /// Waits for a connection, and returns it with the address of its peer.
    ///
    /// While no descriptor is left, `accept` pauses and retries; the first pause is reported on
    /// standard error.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixListener::accept`] does, and when the caller is
    /// interrupted.
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, from) = accept::accept(
            &self.source,
            self.nonblocking.load(Relaxed),
            net::UnixListener::accept,
        )?;
        Ok((UnixStream::from_new(stream)?, from))
    }

    /// Returns an iterator over the connections: each `next` is an [`accept`](Self::accept).
    ///
    /// It ends when the caller's task is cancelled or reaches its deadline;
    /// [`checkpoint`](crate::checkpoint) tells which.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self, ended: false }
    }

    /// Returns the address at which it listens.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixListener::local_addr`] does.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// Creates a second handle of the socket. Each connection goes to one of the handles.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn try_clone(&self) -> io::Result<UnixListener> {
        let copy = UnixListener::new(Source::of_nonblocking(self.source.get().try_clone()?));
        copy.nonblocking.store(self.nonblocking.load(Relaxed), Relaxed);
        Ok(copy)
    }

    /// Takes the pending error of the socket (`SO_ERROR`), if it has one.
    ///
    /// # Errors
    ///
    /// Fails as [`std::os::unix::net::UnixListener::take_error`] does.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.get().fmt(f)
    }
}

/// Iterator over the connections of a listener; made by [`UnixListener::incoming`].
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
    ended: bool,
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        accept::next(&mut self.ended, || self.listener.accept())
    }
}

impl FusedIterator for UnixIncoming<'_> {}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = UnixIncoming<'a>;

    fn into_iter(self) -> UnixIncoming<'a> {
        self.incoming()
    }
}

impl AsFd for UnixListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsRawFd for UnixListener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Puts the socket into non-blocking mode, which affects its std clones too.
impl From<net::UnixListener> for UnixListener {
    fn from(listener: net::UnixListener) -> UnixListener {
        // If the descriptor is not open, its first use reports that.
        let _ = descriptors::set_blocking(listener.as_fd(), false);
        UnixListener::new(Source::of_nonblocking(listener))
    }
}

impl From<OwnedFd> for UnixListener {
    fn from(descriptor: OwnedFd) -> UnixListener {
        net::UnixListener::from(descriptor).into()
    }
}

/// Puts the socket back into blocking mode, unless the listener never waits. Its trine clones then
/// block their carriers.
impl From<UnixListener> for net::UnixListener {
    fn from(listener: UnixListener) -> net::UnixListener {
        let nonblocking = listener.nonblocking.into_inner();
        as_set(listener.source.into_inner(), nonblocking, net::UnixListener::set_nonblocking)
    }
}

/// Puts the socket back into blocking mode, as the conversion into std's type does.
impl From<UnixListener> for OwnedFd {
    fn from(listener: UnixListener) -> OwnedFd {
        net::UnixListener::from(listener).into()
    }
}
