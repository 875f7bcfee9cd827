//! Our ends of the pipes to a child.
//!
//! Not to block is a property of one end of a pipe: ours has it, the child's end blocks as programs expect.
//! One that is given away, to another child or as a descriptor, blocks again.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::{self, Stdio};

use crate::reactor::{Direction, Source};

/// What a child reads as its standard input. Dropping it is the input's end.
///
/// Writing parks the coroutine while the pipe is full; once the child has closed its end, it is `BrokenPipe`.
#[derive(Debug)]
pub struct ChildStdin {
    source: Source<PipeWriter>,
}

/// What a child writes to its standard output. Reading parks the coroutine while there is nothing.
#[derive(Debug)]
pub struct ChildStdout {
    pub(super) source: Source<PipeReader>,
}

/// What a child writes to its standard error. Reading parks the coroutine while there is nothing.
#[derive(Debug)]
pub struct ChildStderr {
    pub(super) source: Source<PipeReader>,
}

impl ChildStdin {
    pub(super) fn new(pipe: process::ChildStdin) -> io::Result<ChildStdin> {
        Ok(ChildStdin { source: Source::new(OwnedFd::from(pipe).into())? })
    }
}

impl ChildStdout {
    pub(super) fn new(pipe: process::ChildStdout) -> io::Result<ChildStdout> {
        Ok(ChildStdout { source: Source::new(OwnedFd::from(pipe).into())? })
    }
}

impl ChildStderr {
    pub(super) fn new(pipe: process::ChildStderr) -> io::Result<ChildStderr> {
        Ok(ChildStderr { source: Source::new(OwnedFd::from(pipe).into())? })
    }
}

impl Write for &ChildStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.source.retry(Direction::Write, None, |mut pipe| pipe.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for ChildStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for ChildStdout {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read_stream(buffer.len(), None, |mut pipe| pipe.read(buffer))
    }
}

impl Read for ChildStderr {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read_stream(buffer.len(), None, |mut pipe| pipe.read(buffer))
    }
}

impl AsFd for ChildStdin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsFd for ChildStdout {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsFd for ChildStderr {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }
}

impl AsRawFd for ChildStdin {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsRawFd for ChildStdout {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsRawFd for ChildStderr {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl From<ChildStdin> for OwnedFd {
    fn from(pipe: ChildStdin) -> OwnedFd {
        pipe.source.into_inner().into()
    }
}

impl From<ChildStdout> for OwnedFd {
    fn from(pipe: ChildStdout) -> OwnedFd {
        pipe.source.into_inner().into()
    }
}

impl From<ChildStderr> for OwnedFd {
    fn from(pipe: ChildStderr) -> OwnedFd {
        pipe.source.into_inner().into()
    }
}

/// For another child to write to.
impl From<ChildStdin> for Stdio {
    fn from(pipe: ChildStdin) -> Stdio {
        pipe.source.into_inner().into()
    }
}

/// For another child to read from.
impl From<ChildStdout> for Stdio {
    fn from(pipe: ChildStdout) -> Stdio {
        pipe.source.into_inner().into()
    }
}

/// For another child to read from.
impl From<ChildStderr> for Stdio {
    fn from(pipe: ChildStderr) -> Stdio {
        pipe.source.into_inner().into()
    }
}
