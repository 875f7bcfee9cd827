//! Pipes.
//!
//! A short read does not mean that the pipe is empty. In packet mode (`O_DIRECT`, which a writer
//! can switch on at any time), each packet ends a read. So only `WouldBlock` starts a wait here.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::Stdio;
use std::time::Duration;

use crate::reactor::{Direction, Source};
use crate::sys::io::{poll, unix_socket};
use crate::sys::process::descriptors;

/// Creates a pipe: bytes written at one end are read at the other. The counterpart of
/// [`std::io::pipe`].
///
/// A pipe holds 64 KiB unless the system is configured otherwise; once it is full, writing waits.
/// Reading waits for the first byte, and finds the end once every writer is dropped. Both fail with
/// [`Interrupted`](crate::Interrupted) when the task is cancelled.
///
/// ```
/// use std::io::{Read, Write};
/// use trine::{coroutine, ipc};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut reader, mut writer) = ipc::pipe()?;
///
/// let task = coroutine::spawn(move || writer.write_all(&[7; 1_000_000]));
///
/// let mut bytes = Vec::new();
/// reader.read_to_end(&mut bytes)?;
/// assert_eq!(bytes.len(), 1_000_000);
/// task.join()??;
/// # Ok(())
/// # }
/// ```
///
/// An end can become a child's standard stream, and a child's stream can become an end:
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::fd::OwnedFd;
/// use std::process::{Command, Stdio};
/// use trine::ipc::{self, PipeReader};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (reader, mut writer) = ipc::pipe()?;
/// let mut child = Command::new("cat").stdin(reader).stdout(Stdio::piped()).spawn()?;
/// let mut output = PipeReader::from(OwnedFd::from(child.stdout.take().unwrap()));
///
/// writer.write_all(b"there and back")?;
/// drop(writer);
/// let mut text = String::new();
/// output.read_to_string(&mut text)?;
/// assert_eq!(text, "there and back");
/// child.wait()?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Fails if no descriptor is left.
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = unix_socket::pipe()?;
    let reader = PipeReader::new(reader.into(), false);
    Ok((reader, PipeWriter { source: Source::of_nonblocking(writer.into()) }))
}

/// The end of a [`pipe()`] for reading.
///
/// ```
/// use std::io::{BufRead, BufReader, Write};
///
/// let (reader, mut writer) = trine::ipc::pipe()?;
/// writer.write_all(b"one\ntwo\n")?;
/// drop(writer);
/// let lines: Result<Vec<_>, _> = BufReader::new(reader).lines().collect();
/// assert_eq!(lines?, ["one", "two"]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct PipeReader {
    source: Source<io::PipeReader>,
    /// True for a FIFO that was opened before its first writer: until that comes, a read of 0 bytes
    /// is not the end.
    may_be_first: bool,
}

/// The end of a [`pipe()`] for writing.
///
/// Once every reader is closed, writing fails with `BrokenPipe`. Rust programs ignore SIGPIPE; a
/// program that has restored its default is killed by it instead, as with std.
///
/// ```
/// use std::io::{ErrorKind, Write};
///
/// let (reader, mut writer) = trine::ipc::pipe()?;
/// writer.write_all(b"in time")?;
/// drop(reader);
/// assert_eq!(writer.write(b"too late").unwrap_err().kind(), ErrorKind::BrokenPipe);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct PipeWriter {
    source: Source<io::PipeWriter>,
}

impl PipeReader {
    /// Creates a second handle of this end. Each byte goes to one of the handles.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn try_clone(&self) -> io::Result<PipeReader> {
        Ok(PipeReader::new(self.source.get().try_clone()?, self.may_be_first))
    }

    /// Reads the bytes that are there, and does not wait. Returns their number; 0 at the end.
    ///
    /// ```
    /// use std::io::ErrorKind;
    ///
    /// let (reader, writer) = trine::ipc::pipe()?;
    /// let mut buffer = [0; 10];
    /// let error = reader.try_read(&mut buffer).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::WouldBlock);
    /// writer.try_write(b"hello")?;
    /// assert_eq!(reader.try_read(&mut buffer)?, 5);
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
        self.source.attempt(|mut pipe| self.or_first(pipe, pipe.read(buffer)))
    }

    /// Waits until there is something to read, or the end.
    ///
    /// ```
    /// let (reader, writer) = trine::ipc::pipe()?;
    /// writer.try_write(b"hello")?;
    /// reader.wait_readable()?;
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
    ///
    /// let (reader, _writer) = trine::ipc::pipe()?;
    /// let error = reader.wait_readable_timeout(Duration::ZERO).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut`, and as [`wait_readable`](Self::wait_readable) does.
    pub fn wait_readable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.source.wait_ready_for(Direction::Read, timeout)
    }

    /// Waits like [`wait_readable`](Self::wait_readable), as a future.
    ///
    /// ```
    /// let (reader, writer) = trine::ipc::pipe()?;
    /// writer.try_write(b"hello")?;
    /// trine::future::block_on(reader.readable())?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails if the reactor cannot watch one more descriptor.
    pub async fn readable(&self) -> io::Result<()> {
        self.source.ready(Direction::Read).await
    }

    /// Takes the end of a FIFO that is in non-blocking mode and had no writer when it was opened.
    pub(super) fn before_its_writer(descriptor: OwnedFd) -> PipeReader {
        PipeReader::new(descriptor.into(), true)
    }

    fn new(reader: io::PipeReader, may_be_first: bool) -> PipeReader {
        PipeReader { source: Source::of_nonblocking(reader), may_be_first }
    }

    fn retry(
        &self,
        mut read: impl FnMut(&io::PipeReader) -> io::Result<usize>,
    ) -> io::Result<usize> {
        self.source.retry(Direction::Read, None, |pipe| self.or_first(pipe, read(pipe)))
    }

    /// Returns `read`; `WouldBlock` for the end of a FIFO that still waits for its first writer.
    fn or_first(&self, pipe: &io::PipeReader, read: io::Result<usize>) -> io::Result<usize> {
        match read? {
            0 if self.may_be_first && !poll::is_hung_up(pipe) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            count => Ok(count),
        }
    }
}

impl PipeWriter {
    /// Creates a second handle of this end. A single write of up to 4096 bytes is never interleaved
    /// with others.
    ///
    /// # Errors
    ///
    /// Fails if no descriptor is left.
    pub fn try_clone(&self) -> io::Result<PipeWriter> {
        Ok(PipeWriter { source: Source::of_nonblocking(self.source.get().try_clone()?) })
    }

    /// Writes as many of the bytes as there is room for, and does not wait. Returns their number.
    ///
    /// ```
    /// use std::io::ErrorKind;
    ///
    /// let (_reader, writer) = trine::ipc::pipe()?;
    /// while writer.try_write(&[0; 4096]).is_ok() {}
    /// assert_eq!(writer.try_write(b"!").unwrap_err().kind(), ErrorKind::WouldBlock);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `WouldBlock` if there is no room now, and as a write does.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.source.attempt(|mut pipe| pipe.write(bytes))
    }

    /// Waits until there is room to write, or no reader is left.
    ///
    /// ```
    /// let (_reader, writer) = trine::ipc::pipe()?;
    /// writer.wait_writable()?; // nothing was written so far
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails when the caller is interrupted, and if the reactor cannot watch one more descriptor.
    pub fn wait_writable(&self) -> io::Result<()> {
        self.source.wait_ready(Direction::Write, None)
    }

    /// Waits like [`wait_writable`](Self::wait_writable), for at most `timeout`; zero only looks.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let (_reader, writer) = trine::ipc::pipe()?;
    /// writer.wait_writable_timeout(Duration::ZERO)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails with `TimedOut`, and as [`wait_writable`](Self::wait_writable) does.
    pub fn wait_writable_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.source.wait_ready_for(Direction::Write, timeout)
    }

    /// Waits like [`wait_writable`](Self::wait_writable), as a future.
    ///
    /// ```
    /// let (_reader, writer) = trine::ipc::pipe()?;
    /// trine::future::block_on(writer.writable())?;
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

impl fmt::Debug for PipeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.get().fmt(f)
    }
}

impl fmt::Debug for PipeWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.get().fmt(f)
    }
}

impl Read for &PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.retry(|mut pipe| pipe.read(buffer))
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        self.retry(|mut pipe| pipe.read_vectored(buffers))
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        (&*self).read_vectored(buffers)
    }
}

impl Write for &PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.source.retry(Direction::Write, None, |mut pipe| pipe.write(bytes))
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        if buffers.iter().all(|buffer| buffer.is_empty()) {
            return Ok(0);
        }
        self.source.retry(Direction::Write, None, |mut pipe| pipe.write_vectored(buffers))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for PipeWriter {
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

impl AsFd for PipeReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsFd for PipeWriter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsRawFd for PipeReader {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsRawFd for PipeWriter {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Puts the pipe end into non-blocking mode, which affects its std clones too.
impl From<io::PipeReader> for PipeReader {
    fn from(reader: io::PipeReader) -> PipeReader {
        // If the descriptor is not open, its first use reports that.
        let _ = descriptors::set_blocking(reader.as_fd(), false);
        PipeReader::new(reader, false)
    }
}

/// Puts the pipe end into non-blocking mode, which affects its std clones too.
impl From<io::PipeWriter> for PipeWriter {
    fn from(writer: io::PipeWriter) -> PipeWriter {
        // If the descriptor is not open, its first use reports that.
        let _ = descriptors::set_blocking(writer.as_fd(), false);
        PipeWriter { source: Source::of_nonblocking(writer) }
    }
}

/// Takes the reading end of any pipe: a child's standard stream, a FIFO.
impl From<OwnedFd> for PipeReader {
    fn from(descriptor: OwnedFd) -> PipeReader {
        io::PipeReader::from(descriptor).into()
    }
}

/// Takes the writing end of any pipe: a child's standard stream, a FIFO.
impl From<OwnedFd> for PipeWriter {
    fn from(descriptor: OwnedFd) -> PipeWriter {
        io::PipeWriter::from(descriptor).into()
    }
}

/// Puts the pipe end back into blocking mode. Its trine clones then block their carriers.
impl From<PipeReader> for io::PipeReader {
    fn from(reader: PipeReader) -> io::PipeReader {
        reader.source.into_inner()
    }
}

/// Puts the pipe end back into blocking mode. Its trine clones then block their carriers.
impl From<PipeWriter> for io::PipeWriter {
    fn from(writer: PipeWriter) -> io::PipeWriter {
        writer.source.into_inner()
    }
}

/// Puts the pipe end back into blocking mode, as the conversion into [`io::PipeReader`] does.
impl From<PipeReader> for OwnedFd {
    fn from(reader: PipeReader) -> OwnedFd {
        io::PipeReader::from(reader).into()
    }
}

/// Puts the pipe end back into blocking mode, as the conversion into [`io::PipeWriter`] does.
impl From<PipeWriter> for OwnedFd {
    fn from(writer: PipeWriter) -> OwnedFd {
        io::PipeWriter::from(writer).into()
    }
}

/// Puts the pipe end back into blocking mode, as the conversion into [`io::PipeReader`] does.
impl From<PipeReader> for Stdio {
    fn from(reader: PipeReader) -> Stdio {
        io::PipeReader::from(reader).into()
    }
}

/// Puts the pipe end back into blocking mode, as the conversion into [`io::PipeWriter`] does.
impl From<PipeWriter> for Stdio {
    fn from(writer: PipeWriter) -> Stdio {
        io::PipeWriter::from(writer).into()
    }
}
