//! Pipes.
//!
//! A short read does not say that there is no more: in a pipe of packets (`O_DIRECT`, which its writer can
//! ask for at any time), it ends with each of them. So only `WouldBlock` begins a wait here.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::Stdio;

use crate::reactor::{Direction, Source};
use crate::sys::io::{poll, unix_socket};
use crate::sys::process::descriptors;

/// A pipe: what is written at one end is read at the other. As [`std::io::pipe`].
///
/// It holds 64 KiB, unless the system says otherwise; then writing waits. Reading waits for the first byte, and
/// says the end once every writer is dropped. Both end with [`Interrupted`](crate::Interrupted), as an error, when the
/// task is cancelled.
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
/// Either end may be a child's standard stream, and a child's may be an end:
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
/// If there are no descriptors left.
pub fn pipe() -> io::Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = unix_socket::pipe()?;
    let reader = PipeReader::new(reader.into(), false);
    Ok((reader, PipeWriter { source: Source::of_nonblocking(writer.into()) }))
}

/// The end of a [`pipe()`] that is read.
pub struct PipeReader {
    source: Source<io::PipeReader>,
    /// Of a FIFO that was opened before any writer came: until one has, an end of the pipe is none.
    may_be_first: bool,
}

/// The end of a [`pipe()`] that is written.
///
/// Once every reader is gone, writing is the error `BrokenPipe`. Rust's programs ignore SIGPIPE; one that
/// has given it its default back is ended by it instead, as with std.
pub struct PipeWriter {
    source: Source<io::PipeWriter>,
}

impl PipeReader {
    /// A second handle of the same end: each byte goes to one of them.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn try_clone(&self) -> io::Result<PipeReader> {
        Ok(PipeReader::new(self.source.get().try_clone()?, self.may_be_first))
    }

    /// The end of a FIFO, which does not block, and had no writer when it was opened.
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
        self.source.retry(Direction::Read, None, |pipe| match read(pipe)? {
            0 if self.may_be_first && !poll::is_hung_up(pipe) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            count => Ok(count),
        })
    }
}

impl PipeWriter {
    /// A second handle of the same end. What is written at once stays together, up to 4096 bytes.
    ///
    /// # Errors
    ///
    /// If there is no descriptor left.
    pub fn try_clone(&self) -> io::Result<PipeWriter> {
        Ok(PipeWriter { source: Source::of_nonblocking(self.source.get().try_clone()?) })
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

/// From now on this end does not block, nor do its clones of std.
impl From<io::PipeReader> for PipeReader {
    fn from(reader: io::PipeReader) -> PipeReader {
        // A descriptor that is not open says so at its first use.
        let _ = descriptors::set_blocking(reader.as_fd(), false);
        PipeReader::new(reader, false)
    }
}

/// From now on this end does not block, nor do its clones of std.
impl From<io::PipeWriter> for PipeWriter {
    fn from(writer: io::PipeWriter) -> PipeWriter {
        // A descriptor that is not open says so at its first use.
        let _ = descriptors::set_blocking(writer.as_fd(), false);
        PipeWriter { source: Source::of_nonblocking(writer) }
    }
}

/// For the reading end of any pipe: of a child's standard stream, of a FIFO.
impl From<OwnedFd> for PipeReader {
    fn from(descriptor: OwnedFd) -> PipeReader {
        io::PipeReader::from(descriptor).into()
    }
}

/// For the writing end of any pipe: of a child's standard stream, of a FIFO.
impl From<OwnedFd> for PipeWriter {
    fn from(descriptor: OwnedFd) -> PipeWriter {
        io::PipeWriter::from(descriptor).into()
    }
}

/// From now on this end blocks, also by its clones: those of trine would block their carriers.
impl From<PipeReader> for io::PipeReader {
    fn from(reader: PipeReader) -> io::PipeReader {
        reader.source.into_inner()
    }
}

/// From now on this end blocks, also by its clones: those of trine would block their carriers.
impl From<PipeWriter> for io::PipeWriter {
    fn from(writer: PipeWriter) -> io::PipeWriter {
        writer.source.into_inner()
    }
}

/// As into std's type.
impl From<PipeReader> for OwnedFd {
    fn from(reader: PipeReader) -> OwnedFd {
        io::PipeReader::from(reader).into()
    }
}

/// As into std's type.
impl From<PipeWriter> for OwnedFd {
    fn from(writer: PipeWriter) -> OwnedFd {
        io::PipeWriter::from(writer).into()
    }
}

/// As into std's type.
impl From<PipeReader> for Stdio {
    fn from(reader: PipeReader) -> Stdio {
        io::PipeReader::from(reader).into()
    }
}

/// As into std's type.
impl From<PipeWriter> for Stdio {
    fn from(writer: PipeWriter) -> Stdio {
        io::PipeWriter::from(writer).into()
    }
}
