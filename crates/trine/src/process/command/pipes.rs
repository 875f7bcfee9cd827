//! This program's ends of the pipes to a child.
//!
//! Each end of a pipe has a non-blocking flag of its own. It is set for this program's end; the
//! child's end blocks, as programs expect. An end that is given away, to another child or as a
//! descriptor, blocks again.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::{self, Stdio};

use crate::reactor::{Direction, Source};

/// The pipe to a child's standard input. Dropping it ends the input.
///
/// A write parks the coroutine while the pipe is full. Once the child has closed its end, a write
/// returns an error of kind `BrokenPipe`.
///
/// ```
/// use std::io::Write;
/// use trine::process::{Command, Stdio};
///
/// let mut grep = Command::new("grep").args(["-q", "moss"]).stdin(Stdio::piped()).spawn()?;
/// grep.stdin.take().unwrap().write_all(b"stone\nmoss\n")?;
/// assert!(grep.wait()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ChildStdin {
    source: Source<PipeWriter>,
}

/// The pipe from a child's standard output. A read parks the coroutine while the pipe is empty.
///
/// ```
/// use std::io::Read;
/// use trine::process::{Command, Stdio};
///
/// let mut child = Command::new("echo").arg("moss").stdout(Stdio::piped()).spawn()?;
/// let mut text = String::new();
/// child.stdout.take().unwrap().read_to_string(&mut text)?;
/// assert_eq!(text, "moss\n");
/// # child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct ChildStdout {
    pub(super) source: Source<PipeReader>,
}

/// The pipe from a child's standard error. A read parks the coroutine while the pipe is empty.
///
/// ```
/// use std::io::Read;
/// use trine::process::{Command, Stdio};
///
/// let mut child = Command::new("ls").arg("/no/such/path").stderr(Stdio::piped()).spawn()?;
/// let mut text = String::new();
/// child.stderr.take().unwrap().read_to_string(&mut text)?;
/// assert!(text.contains("/no/such/path") && !child.wait()?.success());
/// # Ok::<(), std::io::Error>(())
/// ```
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

/// Lets another child write to the pipe.
impl From<ChildStdin> for Stdio {
    fn from(pipe: ChildStdin) -> Stdio {
        pipe.source.into_inner().into()
    }
}

/// Lets another child read from the pipe.
impl From<ChildStdout> for Stdio {
    fn from(pipe: ChildStdout) -> Stdio {
        pipe.source.into_inner().into()
    }
}

/// Lets another child read from the pipe.
impl From<ChildStderr> for Stdio {
    fn from(pipe: ChildStderr) -> Stdio {
        pipe.source.into_inner().into()
    }
}
