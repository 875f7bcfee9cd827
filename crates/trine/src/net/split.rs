//! The two halves of a connection, each with an owner of its own.

use std::error::Error;
use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use super::tcp_stream::TcpStream;
use super::unix::UnixStream;

impl TcpStream {
    /// Splits the connection into a half for reading and a half for writing, for two tasks.
    ///
    /// Dropping the half for writing shuts down writing, as tokio's does: the peer reads the end
    /// then, while the other half reads on. The connection is closed with the last half.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use trine::coroutine;
    /// use trine::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let (mut answers, mut questions) =
    ///     TcpStream::connect(listener.local_addr()?)?.into_split();
    /// let (peer, _) = listener.accept()?;
    /// let echo = coroutine::spawn(move || std::io::copy(&mut &peer, &mut &peer));
    ///
    /// let asking = coroutine::spawn(move || questions.write_all(b"is it you?"));
    /// let mut text = String::new();
    /// answers.read_to_string(&mut text)?; // ends, since the other half was dropped
    /// assert_eq!(text, "is it you?");
    /// # asking.join().unwrap()?;
    /// # echo.join().unwrap()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<TcpStream>, OwnedWriteHalf<TcpStream>) {
        split(self)
    }
}

impl UnixStream {
    /// Splits the connection into a half for reading and a half for writing, as
    /// [`TcpStream::into_split`] does.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use trine::net::UnixStream;
    ///
    /// let (one, mut other) = UnixStream::pair()?;
    /// let (reader, mut writer) = one.into_split();
    /// writer.write_all(b"that is all")?;
    /// drop(writer);
    /// let mut text = String::new();
    /// other.read_to_string(&mut text)?;
    /// assert_eq!(text, "that is all");
    /// # drop(reader);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn into_split(self) -> (OwnedReadHalf<UnixStream>, OwnedWriteHalf<UnixStream>) {
        split(self)
    }
}

fn split<S: Stream>(stream: S) -> (OwnedReadHalf<S>, OwnedWriteHalf<S>) {
    let stream = Arc::new(stream);
    (OwnedReadHalf { stream: Arc::clone(&stream) }, OwnedWriteHalf { stream, ends_stream: true })
}

/// A connection that can be split. Private: it has no other implementations.
pub trait Stream {
    /// Shuts down writing.
    ///
    /// # Errors
    ///
    /// Fails as `shutdown` does.
    fn end_writing(&self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn end_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Stream for UnixStream {
    fn end_writing(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// The half of a connection for reading; made by [`TcpStream::into_split`] and
/// [`UnixStream::into_split`].
///
/// Dropping it changes nothing for the peer. The calls of the whole, such as
/// [`try_read`](TcpStream::try_read) and [`readable`](TcpStream::readable), are reached by
/// [`as_ref`](AsRef::as_ref).
///
/// ```
/// use std::io::{Read, Write};
/// use trine::net::UnixStream;
///
/// let (one, mut other) = UnixStream::pair()?;
/// let (mut reader, _writer) = one.into_split();
/// other.write_all(b"hello")?;
/// let mut text = [0; 4];
/// reader.read_exact(&mut text)?;
/// assert_eq!(reader.as_ref().try_read(&mut text)?, 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct OwnedReadHalf<S: Stream> {
    stream: Arc<S>,
}

/// The half of a connection for writing; made by [`TcpStream::into_split`] and
/// [`UnixStream::into_split`].
///
/// Dropping it shuts down writing, so that the peer reads the end. The calls of the whole, such as
/// [`try_write`](TcpStream::try_write) and [`writable`](TcpStream::writable), are reached by
/// [`as_ref`](AsRef::as_ref).
///
/// ```
/// use std::io::{Read, Write};
/// use trine::net::UnixStream;
///
/// let (one, mut other) = UnixStream::pair()?;
/// let (_reader, mut writer) = one.into_split();
/// writer.write_all(b"hello")?;
/// drop(writer);
/// let mut text = String::new();
/// other.read_to_string(&mut text)?;
/// assert_eq!(text, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct OwnedWriteHalf<S: Stream> {
    stream: Arc<S>,
    /// False if dropping it leaves the stream as it is.
    ends_stream: bool,
}

impl<S: Stream> OwnedReadHalf<S> {
    /// Makes the connection whole again. Dropping the halves would end it.
    ///
    /// ```
    /// use trine::net::UnixStream;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (one, _other) = UnixStream::pair()?;
    /// let (reader, writer) = one.into_split();
    /// let _one: UnixStream = reader.reunite(writer)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the halves are of two connections, and gives them back.
    pub fn reunite(self, mut writer: OwnedWriteHalf<S>) -> Result<S, ReuniteError<S>> {
        if !Arc::ptr_eq(&self.stream, &writer.stream) {
            return Err(ReuniteError(self, writer));
        }
        writer.ends_stream = false;
        drop(writer);
        Ok(Arc::into_inner(self.stream).expect("the two halves are its only owners"))
    }
}

impl<S: Stream> OwnedWriteHalf<S> {
    /// Makes the connection whole again, as [`OwnedReadHalf::reunite`] does.
    ///
    /// ```
    /// use trine::net::UnixStream;
    ///
    /// let (one, other) = UnixStream::pair()?;
    /// let (_reader, writer) = one.into_split();
    /// let (reader, _writer) = other.into_split();
    /// assert!(writer.reunite(reader).is_err()); // the halves of two connections
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the halves are of two connections, and gives them back.
    pub fn reunite(self, reader: OwnedReadHalf<S>) -> Result<S, ReuniteError<S>> {
        reader.reunite(self)
    }

    /// Drops the half without shutting down writing.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use trine::net::UnixStream;
    ///
    /// let (one, other) = UnixStream::pair()?;
    /// let (_reader, writer) = one.into_split();
    /// writer.forget();
    /// let error = other.try_read(&mut [0]).unwrap_err(); // not the end
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn forget(mut self) {
        self.ends_stream = false;
    }
}

impl<S: Stream> Drop for OwnedWriteHalf<S> {
    fn drop(&mut self) {
        if self.ends_stream {
            // Fails if the connection was closed, or shut down already.
            let _ = self.stream.end_writing();
        }
    }
}

impl<S: Stream> AsRef<S> for OwnedReadHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Stream> AsRef<S> for OwnedWriteHalf<S> {
    fn as_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: Stream> Read for &OwnedReadHalf<S>
where
    for<'a> &'a S: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.stream).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self.stream).read_vectored(buffers)
    }
}

impl<S: Stream> Read for OwnedReadHalf<S>
where
    for<'a> &'a S: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.stream).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self.stream).read_vectored(buffers)
    }
}

impl<S: Stream> Write for &OwnedWriteHalf<S>
where
    for<'a> &'a S: Write,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.stream).write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self.stream).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Stream> Write for OwnedWriteHalf<S>
where
    for<'a> &'a S: Write,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.stream).write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self.stream).write_vectored(buffers)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The halves of two connections, which cannot be reunited; from [`OwnedReadHalf::reunite`].
///
/// ```
/// use trine::net::{ReuniteError, UnixStream};
///
/// let (one, other) = UnixStream::pair()?;
/// let ((reader, _writer), (_reader, writer)) = (one.into_split(), other.into_split());
/// let ReuniteError(reader, writer) = reader.reunite(writer).unwrap_err();
/// # drop((reader, writer));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ReuniteError<S: Stream>(pub OwnedReadHalf<S>, pub OwnedWriteHalf<S>);

impl<S: Stream> fmt::Display for ReuniteError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the two halves are of two connections")
    }
}

impl<S: Stream + fmt::Debug> Error for ReuniteError<S> {}
