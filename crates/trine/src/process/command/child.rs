//! A running program: its pipes, its end, and its output.

use std::io::{self, PipeReader, Read};
use std::process::{ExitStatus, Output};
use std::time::Duration;

use super::pipes::{ChildStderr, ChildStdin, ChildStdout};
use super::process::Process;
use crate::reactor::{Direction, Source};
use crate::signal::Signal;
use crate::sys::io::poll::Poll;
use crate::task::cancel::shield;

/// Time for a killed child to end; after that it is left to [`reap_orphans`](super::reap_orphans).
const REAP_TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes that are read from one of two pipes before the other has its turn.
const TURN: u64 = 1 << 20;

/// The occasions at which a child is killed, and the processes that are killed with it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KillScope {
    /// True if the child is killed when its handle is dropped.
    pub(super) on_drop: bool,
    /// True if its whole group is killed with it.
    pub(super) group: bool,
}

/// A running program. It has the names of [`std::process::Child`], but its waits park the
/// coroutine.
///
/// A child that is dropped goes on running, unless [`kill_on_drop`](super::Command::kill_on_drop)
/// is set. It leaves no zombie for long: the next start of a [`Command`](super::Command) reaps the
/// children that have ended and whose handles are dropped.
///
/// ```
/// use trine::process::Command;
///
/// let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
/// assert_eq!(child.wait()?.code(), Some(3));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Child {
    /// This program's end of the child's standard input, if that was piped.
    pub stdin: Option<ChildStdin>,
    /// This program's end of the child's standard output, if that was piped.
    pub stdout: Option<ChildStdout>,
    /// This program's end of the child's standard error, if that was piped.
    pub stderr: Option<ChildStderr>,
    process: Process,
    kill: KillScope,
    output_limit: u64,
}

impl Child {
    /// Takes over a child that std has started.
    pub(super) fn watch(
        mut std: std::process::Child,
        kill: KillScope,
        output_limit: u64,
    ) -> io::Result<Child> {
        let process = Process::watch(std.id())?;
        let until_complete = KillScope { on_drop: true, ..kill };
        let mut child = Child {
            stdin: None,
            stdout: None,
            stderr: None,
            process,
            kill: until_complete,
            output_limit,
        };
        child.stdin = std.stdin.take().map(ChildStdin::new).transpose()?;
        child.stdout = std.stdout.take().map(ChildStdout::new).transpose()?;
        child.stderr = std.stderr.take().map(ChildStderr::new).transpose()?;
        child.kill = kill;
        Ok(child)
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns a handle with which other code can wait for the child or send it signals.
    ///
    /// ```
    /// use trine::process::Command;
    ///
    /// let mut child = Command::new("true").spawn()?;
    /// let process = child.process();
    /// assert!(child.wait()?.success() && process.wait()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn process(&self) -> Process {
        self.process.clone()
    }

    /// Closes the child's standard input, if [`stdin`](Self::stdin) still holds it, and waits for
    /// the child's end.
    ///
    /// # Errors
    ///
    /// - The wait was interrupted ([`Interrupted`](crate::Interrupted)); the child goes on running.
    /// - Other code of this program has taken the child's status.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.process.wait()
    }

    /// Does the same as [`wait`](Self::wait), for at most `timeout`; returns `None` if the child
    /// still runs then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Command;
    ///
    /// let mut child = Command::new("sleep").arg("600").spawn()?;
    /// assert!(child.wait_timeout(Duration::from_millis(5))?.is_none());
    /// child.kill()?;
    /// assert!(child.wait_timeout(Duration::MAX)?.is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        self.process.wait_timeout(timeout)
    }

    /// Returns the child's status if it has ended; `None` while it runs.
    ///
    /// # Errors
    ///
    /// Other code of this program has taken the child's status.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Kills the child by SIGKILL, with its whole group if
    /// [`kill_group`](super::Command::kill_group) is set.
    ///
    /// Does nothing if the child's status was taken: another group may have its number then.
    ///
    /// # Errors
    ///
    /// The errors of [`Process::kill`].
    pub fn kill(&self) -> io::Result<()> {
        if self.kill.group { self.process.kill_group() } else { self.process.kill() }
    }

    /// Sends the child a signal. Does nothing if it has ended.
    ///
    /// ```
    /// use std::os::unix::process::ExitStatusExt;
    /// use trine::{process::Command, signal::Signal};
    ///
    /// let mut child = Command::new("sleep").arg("600").spawn()?;
    /// child.signal(Signal::TERM)?;
    /// assert_eq!(child.wait()?.signal(), Some(15));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`Process::signal`].
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.process.signal(signal)
    }

    /// Closes the child's standard input, reads its standard output and error to their ends if they
    /// were piped, and waits for the child's end.
    ///
    /// Both streams are read at the same time, so a child that fills one pipe does not block
    /// forever.
    ///
    /// # Errors
    ///
    /// The errors of [`wait`](Self::wait), and those of reading. The child then goes on running,
    /// with its pipes closed.
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = self.collect(&mut stdout, &mut stderr)?;
        Ok(Output { status, stdout, stderr })
    }

    fn collect(&mut self, stdout: &mut Vec<u8>, stderr: &mut Vec<u8>) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        let mut out = Captured { into: stdout, left: self.output_limit };
        let mut err = Captured { into: stderr, left: self.output_limit };
        match (self.stdout.take(), self.stderr.take()) {
            (Some(one), Some(two)) => read_both((one.source, &mut out), (two.source, &mut err))?,
            (Some(mut pipe), None) => while !out.read(&mut pipe)? {},
            (None, Some(mut pipe)) => while !err.read(&mut pipe)? {},
            (None, None) => {}
        }
        self.process.wait()
    }
}

/// The captured bytes of one stream.
struct Captured<'a> {
    into: &'a mut Vec<u8>,
    /// The number of bytes that may still come.
    left: u64,
}

impl Captured<'_> {
    /// Reads until the turn is over, the pipe is empty for now, or the stream has ended. Returns
    /// true at its end.
    fn read(&mut self, pipe: impl Read) -> io::Result<bool> {
        let before = self.into.len();
        let room = TURN.min(self.left.saturating_add(1));
        let read = pipe.take(room).read_to_end(self.into);
        let count = (self.into.len() - before) as u64;
        if count > self.left {
            self.into.pop();
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the program wrote more than was to be captured of it (`output_limit`)",
            ));
        }
        self.left -= count;
        match read {
            Ok(_) => Ok(count < room),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kill.on_drop {
            // A child that may not be killed goes on running.
            let _ = self.kill();
        }
    }
}

/// A child that no other code can reach. When dropped before its end, it is killed and reaped.
pub(super) struct OwnedChild(pub(super) Child);

impl OwnedChild {
    pub(super) fn status(mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }

    pub(super) fn output_into(
        mut self,
        stdout: &mut Vec<u8>,
        stderr: &mut Vec<u8>,
    ) -> io::Result<ExitStatus> {
        self.0.collect(stdout, stderr)
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        let process = &self.0.process;
        // Before the status is taken: after that another group may have the number.
        if self.0.kill.group {
            let _ = process.kill_group();
        }
        if let Ok(None) = process.try_wait()
            && process.kill().is_ok()
        {
            let _ = shield(REAP_TIMEOUT, || process.wait_timeout(REAP_TIMEOUT));
        }
    }
}

/// Reads two pipes to their ends, each when it has bytes.
///
/// An epoll watches both, so that threads and coroutines alike wait for one descriptor.
fn read_both<'a>(
    (out, stdout): (Source<PipeReader>, &mut Captured<'a>),
    (err, stderr): (Source<PipeReader>, &mut Captured<'a>),
) -> io::Result<()> {
    const OUT: u64 = 0;
    const ERR: u64 = 1;
    let either = Source::of_nonblocking(Poll::new()?);
    either.get().add(&out, OUT)?;
    either.get().add(&err, ERR)?;
    let (mut open, mut happened) = (2, Vec::with_capacity(2));
    while open > 0 {
        either.retry(Direction::Read, None, |either| {
            either.take_ready(&mut happened);
            if happened.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        })?;
        for happened in &happened {
            let (pipe, into) = match happened.token {
                OUT => (&out, &mut *stdout),
                _ => (&err, &mut *stderr),
            };
            if into.read(pipe.get())? {
                either.get().remove(pipe);
                open -= 1;
            }
        }
    }
    Ok(())
}
