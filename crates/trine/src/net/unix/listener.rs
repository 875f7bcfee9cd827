//! A Unix socket that listens.

use std::fmt;
use std::io;
use std::iter::FusedIterator;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;

use super::UnixStream;
use crate::net::accept::accept;
use crate::reactor::Source;
use crate::sys::process::descriptors;
use crate::task::Interrupted;

/// A Unix socket that listens for connections; as [`std::os::unix::net::UnixListener`].
///
/// The file of its path stays when the listener is gone: remove it before the next `bind`.
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
    source: Source<net::UnixListener>,
}

impl UnixListener {
    /// Listens at `path`, where it makes a file.
    ///
    /// # Errors
    ///
    /// `AddrInUse` if there is a file; `InvalidInput` for a path that is longer than 107 bytes or has a
    /// zero in it; what making a file says.
    pub fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        Ok(UnixListener { source: Source::new(net::UnixListener::bind(path)?)? })
    }

    /// Listens at an address, which may be one without a file
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
    /// As [`bind`](Self::bind).
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        Ok(UnixListener { source: Source::new(net::UnixListener::bind_addr(address)?)? })
    }

    /// Waits for a connection.
    ///
    /// While the process has no descriptor left for it, this call waits too, and tries again; the first
    /// time, a line on standard error says so.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixListener::accept`]; [`Interrupted`] if the wait is ended from
    /// outside.
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, from) = accept(&self.source, net::UnixListener::accept)?;
        Ok((UnixStream::from_new(stream)?, from))
    }

    /// The connections as they come: each `next` is an [`accept`](Self::accept).
    ///
    /// Ends when the caller's task is cancelled or its time is up; [`checkpoint`](crate::checkpoint) says which.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self, ended: false }
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }

    /// A second handle of the same socket: each connection goes to one of them.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn try_clone(&self) -> io::Result<UnixListener> {
        Ok(UnixListener { source: Source::of_nonblocking(self.source.get().try_clone()?) })
    }

    /// Takes the error that the socket has kept.
    ///
    /// # Errors
    ///
    /// As [`std::os::unix::net::UnixListener::take_error`].
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.source.get().take_error()
    }
}

impl fmt::Debug for UnixListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.get().fmt(f)
    }
}

/// The connections of a [`UnixListener`].
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
    ended: bool,
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        if self.ended {
            return None;
        }
        let accepted = self.listener.accept();
        self.ended = accepted.as_ref().is_err_and(Interrupted::is_in);
        if self.ended { None } else { Some(accepted.map(|(stream, _)| stream)) }
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

/// From now on the socket does not block, nor do its clones of std.
impl From<net::UnixListener> for UnixListener {
    fn from(listener: net::UnixListener) -> UnixListener {
        // A descriptor that is not open says so at its first use.
        let _ = descriptors::set_blocking(listener.as_fd(), false);
        UnixListener { source: Source::of_nonblocking(listener) }
    }
}

impl From<OwnedFd> for UnixListener {
    fn from(descriptor: OwnedFd) -> UnixListener {
        net::UnixListener::from(descriptor).into()
    }
}

/// From now on the socket blocks, also by its clones: those of trine would block their carriers.
impl From<UnixListener> for net::UnixListener {
    fn from(listener: UnixListener) -> net::UnixListener {
        listener.source.into_inner()
    }
}

/// As into std's type.
impl From<UnixListener> for OwnedFd {
    fn from(listener: UnixListener) -> OwnedFd {
        net::UnixListener::from(listener).into()
    }
}
