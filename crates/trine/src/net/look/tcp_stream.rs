//! Looks of [`TcpStream`].

use std::io;
use std::time::Duration;

use crate::net::TcpStream;
use crate::net::tcp_stream::MOST;
use crate::reactor::Direction;
use crate::sys::io::{Blocking, socket};

impl TcpStream {
    /// Sets what reads and writes do when they would have to wait: fail with `WouldBlock` if true,
    /// or wait. The mode belongs to this handle; std's belongs to the socket. A clone made later
    /// begins with it, and so does a conversion into std's type.
    ///
    /// ```
    /// use std::io::{ErrorKind, Read};
    /// use trine::net::TcpStream;
    ///
    /// let listener = trine::net::TcpListener::bind("127.0.0.1:0")?;
    /// let peer = TcpStream::connect(listener.local_addr()?)?;
    /// let (socket, _) = listener.accept()?;
    /// socket.set_nonblocking(true)?;
    /// let error = (&socket).read(&mut [0; 10]).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Never fails; std's signature has a `Result`.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.timeouts.set_nonblocking(nonblocking);
        Ok(())
    }

    /// Reads the bytes that are there, and does not wait. Returns their number; 0 at the end of the
    /// stream.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::TcpStream;
    ///
    /// let listener = trine::net::TcpListener::bind("127.0.0.1:0")?;
    /// let peer = TcpStream::connect(listener.local_addr()?)?;
    /// let (socket, _) = listener.accept()?;
    /// let mut buffer = [0; 10];
    /// let error = socket.try_read(&mut buffer).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// peer.try_write(b"hello")?;
    /// socket.wait_readable()?;
    /// assert_eq!(socket.try_read(&mut buffer)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is nothing to read now, and as a read does.
    pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let most = buffer.len().min(MOST);
        self.source.attempt(|socket| socket::receive(socket, &mut buffer[..most], Blocking::No))
    }

    /// Reads like [`try_read`](Self::try_read), without removing the bytes.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::TcpStream;
    ///
    /// let listener = trine::net::TcpListener::bind("127.0.0.1:0")?;
    /// let peer = TcpStream::connect(listener.local_addr()?)?;
    /// let (socket, _) = listener.accept()?;
    /// let mut buffer = [0; 10];
    /// assert_eq!(socket.try_peek(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
    /// peer.try_write(b"hello")?;
    /// socket.wait_readable()?;
    /// assert_eq!(socket.try_peek(&mut buffer)?, 5);
    /// assert_eq!(socket.try_read(&mut buffer)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is nothing to read now, and as a read does.
    pub fn try_peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.source.attempt(|socket| socket::peek(socket, buffer))
    }

    /// Writes as many of the bytes as there is room for, and does not wait. Returns their number.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::TcpStream;
    ///
    /// let listener = trine::net::TcpListener::bind("127.0.0.1:0")?;
    /// let peer = TcpStream::connect(listener.local_addr()?)?;
    /// let (socket, _) = listener.accept()?;
    /// while socket.try_write(&[0; 10_000]).is_ok() {}
    /// assert_eq!(socket.try_write(b"!").unwrap_err().kind(), ErrorKind::WouldBlock);
    /// # drop(peer);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is no room now, and as a write does.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.source.attempt(|socket| socket::send(socket, bytes, Blocking::No))
    }

    /// Waits until there is something to read, the end of the stream or an error.
    ///
    /// ```
    /// use trine::net::TcpStream;
    ///
    /// let listener = trine::net::TcpListener::bind("127.0.0.1:0")?;
    /// let peer = TcpStream::connect(listener.local_addr()?)?;
    /// let (socket, _) = listener.accept()?;
    /// peer.try_write(b"!")?;
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
    /// use trine::net::TcpStream;
    ///
    /// let listener = trine::net::TcpListener::bind("127.0.0.1:0")?;
    /// let peer = TcpStream::connect(listener.local_addr()?)?;
    /// let (socket, _) = listener.accept()?;
    /// let error = socket.wait_readable_timeout(Duration::ZERO).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// peer.try_write(b"!")?;
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
    /// use trine::net::TcpStream;
    ///
    /// let listener = trine::net::TcpListener::bind("127.0.0.1:0")?;
    /// let peer = TcpStream::connect(listener.local_addr()?)?;
    /// let (socket, _) = listener.accept()?;
    /// peer.try_write(b"!")?;
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

    /// Waits until there is room to write, or an error.
    ///
    /// ```
    /// use trine::net::TcpStream;
    ///
    /// let listener = trine::net::TcpListener::bind("127.0.0.1:0")?;
    /// let peer = TcpStream::connect(listener.local_addr()?)?;
    /// let (socket, _) = listener.accept()?;
    /// socket.wait_writable()?; // nothing was sent so far
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails as [`wait_readable`](Self::wait_readable) does.
    pub fn wait_writable(&self) -> io::Result<()> {
        self.source.wait_ready(Direction::Write, None)
    }

    /// Waits like [`wait_writable`](Self::wait_writable), for at most `timeout`; zero only looks.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::net::TcpStream;
    ///
    /// let listener = trine::net::TcpListener::bind("127.0.0.1:0")?;
    /// let peer = TcpStream::connect(listener.local_addr()?)?;
    /// let (socket, _) = listener.accept()?;
    /// socket.wait_writable_timeout(Duration::ZERO)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut`, and as [`wait_readable`](Self::wait_readable) does.
    pub fn wait_writable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.source.wait_ready_for(Direction::Write, timeout)
    }

    /// Waits like [`wait_writable`](Self::wait_writable), as a future. Any number of them may wait
    /// at once.
    ///
    /// ```
    /// use trine::future;
    /// use trine::net::TcpStream;
    ///
    /// let listener = trine::net::TcpListener::bind("127.0.0.1:0")?;
    /// let peer = TcpStream::connect(listener.local_addr()?)?;
    /// let (socket, _) = listener.accept()?;
    /// future::block_on(socket.writable())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the reactor cannot watch one more descriptor.
    pub async fn writable(&self) -> io::Result<()> {
        self.source.ready(Direction::Write).await
    }
}
