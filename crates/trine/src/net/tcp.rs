//! TCP.

use std::io::{self, Read, Write};
use std::net::{self, Shutdown, SocketAddr, ToSocketAddrs};

use crate::reactor::{Direction, Source};

/// A socket that listens for connections.
#[derive(Debug)]
pub struct TcpListener {
    source: Source<net::TcpListener>,
}

/// A connection.
#[derive(Debug)]
pub struct TcpStream {
    pub(crate) source: Source<net::TcpStream>,
}

impl TcpListener {
    /// Listens at `address`.
    ///
    /// # Errors
    ///
    /// As [`std::net::TcpListener::bind`].
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<TcpListener> {
        Ok(TcpListener { source: Source::new(net::TcpListener::bind(address)?)? })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// As [`std::net::TcpListener::accept`].
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, from) = self.source.retry(Direction::Read, None, net::TcpListener::accept)?;
        Ok((TcpStream { source: Source::new(stream)? }, from))
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// As [`std::net::TcpListener::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.source.get().local_addr()
    }
}

impl TcpStream {
    /// Connects to `address`.
    ///
    /// # Errors
    ///
    /// As [`std::net::TcpStream::connect`].
    pub fn connect(address: impl ToSocketAddrs) -> io::Result<TcpStream> {
        Ok(TcpStream { source: Source::new(net::TcpStream::connect(address)?)? })
    }

    /// Ends one or both directions.
    ///
    /// # Errors
    ///
    /// As [`std::net::TcpStream::shutdown`].
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.source.get().shutdown(how)
    }

    /// Sends small pieces at once.
    ///
    /// # Errors
    ///
    /// As [`std::net::TcpStream::set_nodelay`].
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.source.get().set_nodelay(nodelay)
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read_stream(buffer.len(), None, |mut socket| socket.read(buffer))
    }
}

impl Read for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.source.retry(Direction::Write, None, |mut socket| socket.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
