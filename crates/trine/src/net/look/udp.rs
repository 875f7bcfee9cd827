//! Looks of [`UdpSocket`].

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::net::UdpSocket;
use crate::reactor::Direction;
use crate::sys::io::{Blocking, net, socket};

impl UdpSocket {
    /// Sets what sends and receives do when they would have to wait: fail with `WouldBlock` if
    /// true, or wait. The mode belongs to this handle; std's belongs to the socket. A clone made
    /// later begins with it, and so does a conversion into std's type.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
    /// socket.set_nonblocking(true)?;
    /// let error = socket.recv(&mut [0; 10]).unwrap_err();
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

    /// Receives a message that is there, and does not wait. Returns its length.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
    /// let mut buffer = [0; 10];
    /// let error = socket.try_recv(&mut buffer).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// peer.try_send(b"hello")?;
    /// socket.wait_readable()?;
    /// assert_eq!(socket.try_recv(&mut buffer)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is no message now, and as [`recv`](Self::recv) does.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.attempt(|socket| socket::receive(socket, buffer, Blocking::No))
    }

    /// Receives like [`try_recv`](Self::try_recv), and returns the sender's address too.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
    /// let mut buffer = [0; 10];
    /// let error = socket.try_recv_from(&mut buffer).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// peer.try_send(b"hello")?;
    /// socket.wait_readable()?;
    /// let (length, _from) = socket.try_recv_from(&mut buffer)?;
    /// assert_eq!(length, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is no message now, and as [`recv`](Self::recv) does.
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.attempt(|socket| net::receive_from(socket, buffer))
    }

    /// Receives like [`try_recv`](Self::try_recv), without removing the message.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
    /// let mut buffer = [0; 10];
    /// let error = socket.try_peek(&mut buffer).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// peer.try_send(b"hello")?;
    /// socket.wait_readable()?;
    /// assert_eq!(socket.try_peek(&mut buffer)?, 5);
    /// assert_eq!(socket.try_recv(&mut buffer)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is no message now, and as [`recv`](Self::recv) does.
    pub fn try_peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.attempt(|socket| socket::peek(socket, buffer))
    }

    /// Receives like [`try_peek`](Self::try_peek), and returns the sender's address too.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
    /// peer.try_send(b"hello")?;
    /// socket.wait_readable()?;
    /// let mut buffer = [0; 10];
    /// assert_eq!(socket.try_peek_from(&mut buffer)?, (5, peer.local_addr()?));
    /// assert_eq!(socket.try_recv(&mut buffer)?, 5);
    /// let error = socket.try_peek_from(&mut buffer).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is no message now, and as [`recv`](Self::recv) does.
    pub fn try_peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.source.attempt(|socket| net::peek_from(socket, buffer))
    }

    /// Sends a message to the connected socket, and does not wait. Returns its length.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
    /// match socket.try_send(b"hello") {
    ///     Ok(length) => assert_eq!(length, 5),
    ///     Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    /// }
    /// # drop(peer);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is no room now, and as [`send`](Self::send) does.
    pub fn try_send(&self, message: &[u8]) -> io::Result<usize> {
        self.source.attempt(|socket| socket::send(socket, message, Blocking::No))
    }

    /// Sends a message to an address, and does not wait. Returns its length.
    ///
    /// ```
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// assert_eq!(socket.try_send_to(b"hello", peer.local_addr()?)?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is no room now, and as [`send`](Self::send) does.
    pub fn try_send_to(&self, message: &[u8], address: SocketAddr) -> io::Result<usize> {
        self.source.attempt(|socket| net::send_to(socket, message, &address))
    }

    /// Waits until there is a message, or an error.
    ///
    /// ```
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
    /// peer.try_send(b"!")?;
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
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
    /// let error = socket.wait_readable_timeout(Duration::ZERO).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// peer.try_send(b"!")?;
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
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
    /// peer.try_send(b"!")?;
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

    /// Waits until there is room to send, or an error.
    ///
    /// ```
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
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
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
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
    /// use trine::net::UdpSocket;
    ///
    /// let socket = UdpSocket::bind("127.0.0.1:0")?;
    /// let peer = UdpSocket::bind("127.0.0.1:0")?;
    /// peer.connect(socket.local_addr()?)?;
    /// socket.connect(peer.local_addr()?)?;
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
