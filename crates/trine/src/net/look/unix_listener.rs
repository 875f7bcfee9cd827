//! Looks of [`UnixListener`].

use std::io;
use std::os::unix::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::net::{UnixListener, UnixStream};
use crate::reactor::Direction;

impl UnixListener {
    /// Sets what [`accept`](Self::accept) and the iterators do when they would have to wait: fail
    /// with `WouldBlock` if true, or wait. The mode belongs to this handle; std's belongs to the
    /// socket. A clone made later begins with it, and so does a conversion into std's type.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::UnixListener;
    ///
    /// # use std::os::linux::net::SocketAddrExt;
    /// # let name = format!("look 26 of {}", std::process::id());
    /// # let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    /// let socket = UnixListener::bind_addr(&address)?;
    /// socket.set_nonblocking(true)?;
    /// let error = socket.accept().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Never fails; std's signature has a `Result`.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.nonblocking.store(nonblocking, Relaxed);
        Ok(())
    }

    /// Accepts a connection that is in the queue, and does not wait.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::UnixListener;
    ///
    /// # use std::os::linux::net::SocketAddrExt;
    /// # let name = format!("look 27 of {}", std::process::id());
    /// # let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    /// let socket = UnixListener::bind_addr(&address)?;
    /// let error = socket.try_accept().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// let _peer = trine::net::UnixStream::connect_addr(&address)?;
    /// socket.wait_readable()?;
    /// let (_stream, _from) = socket.try_accept()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is no connection now, if no descriptor is left, and as
    /// [`accept`](Self::accept) does.
    pub fn try_accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (stream, from) = self.source.attempt(std::os::unix::net::UnixListener::accept)?;
        Ok((UnixStream::from_new(stream)?, from))
    }

    /// Waits until there is a connection to accept, or an error.
    ///
    /// ```
    /// use trine::net::UnixListener;
    ///
    /// # use std::os::linux::net::SocketAddrExt;
    /// # let name = format!("look 28 of {}", std::process::id());
    /// # let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    /// let socket = UnixListener::bind_addr(&address)?;
    /// let _peer = trine::net::UnixStream::connect_addr(&address)?;
    /// socket.wait_readable()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails when the caller is interrupted, and if the reactor cannot watch one more descriptor.
    pub fn wait_readable(&self) -> io::Result<()> {
        self.source.wait_ready(Direction::Read, None)
    }

    /// Waits like [`wait_readable`](Self::wait_readable), for at most `timeout`; zero only looks.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    /// use trine::net::UnixListener;
    ///
    /// # use std::os::linux::net::SocketAddrExt;
    /// # let name = format!("look 29 of {}", std::process::id());
    /// # let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    /// let socket = UnixListener::bind_addr(&address)?;
    /// let error = socket.wait_readable_timeout(Duration::ZERO).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// let _peer = trine::net::UnixStream::connect_addr(&address)?;
    /// socket.wait_readable_timeout(Duration::from_secs(5))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut`, and as [`wait_readable`](Self::wait_readable) does.
    pub fn wait_readable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.source.wait_ready_for(Direction::Read, timeout)
    }

    /// Waits like [`wait_readable`](Self::wait_readable), as a future: for async code, and for a
    /// `future` arm of [`select!`](macro@crate::sync::select). Any number of them may wait at once.
    ///
    /// ```
    /// use trine::future;
    /// use trine::net::UnixListener;
    ///
    /// # use std::os::linux::net::SocketAddrExt;
    /// # let name = format!("look 30 of {}", std::process::id());
    /// # let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    /// let socket = UnixListener::bind_addr(&address)?;
    /// let _peer = trine::net::UnixStream::connect_addr(&address)?;
    /// future::block_on(socket.readable())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the reactor cannot watch one more descriptor.
    pub async fn readable(&self) -> io::Result<()> {
        self.source.ready(Direction::Read).await
    }
}
