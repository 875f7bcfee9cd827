//! A program that runs.

use std::io::{self, PipeReader, Read};
use std::process::{ExitStatus, Output};
use std::time::Duration;

use super::Kill;
use super::pipes::{ChildStderr, ChildStdin, ChildStdout};
use super::process::Process;
use crate::reactor::{Direction, Source};
use crate::signal::Signal;
use crate::sys::io::poll::Poll;
use crate::task::cancel::shield;

/// How long a killed child that nobody else holds is waited for; then it is an orphan.
const BURIAL: Duration = Duration::from_secs(2);

/// Read from one of two pipes before the other has its turn.
const TURN: u64 = 1 << 20;

/// A program that runs, with std's names: [`std::process::Child`], whose waits park the coroutine.
///
/// Dropped, it goes on running, unless [`kill_on_drop`](super::Command::kill_on_drop) says otherwise. No
/// zombie stays for long: the status of a child that nobody waits for any more is taken when the next
/// [`Command`](super::Command) is started.
#[derive(Debug)]
pub struct Child {
    /// Our end of its standard input, if that was piped.
    pub stdin: Option<ChildStdin>,
    /// Our end of its standard output, if that was piped.
    pub stdout: Option<ChildStdout>,
    /// Our end of its standard error, if that was piped.
    pub stderr: Option<ChildStderr>,
    process: Process,
    kill: Kill,
    most_output: u64,
}

impl Child {
    /// Takes over what std has started.
    pub(super) fn watch(
        mut std: std::process::Child,
        kill: Kill,
        most_output: u64,
    ) -> io::Result<Child> {
        let process = Process::watch(std.id())?;
        let until_whole = Kill { on_drop: true, ..kill };
        let mut child = Child {
            stdin: None,
            stdout: None,
            stderr: None,
            process,
            kill: until_whole,
            most_output,
        };
        child.stdin = std.stdin.take().map(ChildStdin::new).transpose()?;
        child.stdout = std.stdout.take().map(ChildStdout::new).transpose()?;
        child.stderr = std.stderr.take().map(ChildStderr::new).transpose()?;
        child.kill = kill;
        Ok(child)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A handle for others who wait for it or send it signals.
    pub fn process(&self) -> Process {
        self.process.clone()
    }

    /// Closes its standard input, if that is still here, and waits for its end.
    ///
    /// # Errors
    ///
    /// What ends a wait from outside ([`Interrupted`](crate::Interrupted)); the child goes on running then.
    /// Somebody else has taken its status.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.process.wait()
    }

    /// Closes its standard input, if that is still here, and waits for its end, for at most `timeout`; `None`
    /// if it still runs then.
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
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        drop(self.stdin.take());
        self.process.wait_timeout(timeout)
    }

    /// How it has ended; `None` while it runs.
    ///
    /// # Errors
    ///
    /// Somebody else has taken its status.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Ends it by SIGKILL, with its group if [`kill_group`](super::Command::kill_group) says so. Does nothing if
    /// its status was taken; the number of its group may be another's then.
    ///
    /// # Errors
    ///
    /// As [`Process::kill`].
    pub fn kill(&self) -> io::Result<()> {
        if self.kill.group { self.process.kill_group() } else { self.process.kill() }
    }

    /// Sends it a signal. Does nothing if it has ended.
    ///
    /// # Errors
    ///
    /// As [`Process::signal`].
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        self.process.signal(signal)
    }

    /// Closes its standard input, reads its standard output and error to their ends, if they were piped, and
    /// waits for its end. Both are read at the same time, so a child that fills one pipe is not stuck.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait), and if reading fails. The child then goes on running, with its pipes closed.
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = self.collect(&mut stdout, &mut stderr)?;
        Ok(Output { status, stdout, stderr })
    }

    fn collect(&mut self, stdout: &mut Vec<u8>, stderr: &mut Vec<u8>) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        let mut out = Captured { into: stdout, left: self.most_output };
        let mut err = Captured { into: stderr, left: self.most_output };
        match (self.stdout.take(), self.stderr.take()) {
            (Some(one), Some(two)) => read_both((one.source, &mut out), (two.source, &mut err))?,
            (Some(mut pipe), None) => while !out.read(&mut pipe)? {},
            (None, Some(mut pipe)) => while !err.read(&mut pipe)? {},
            (None, None) => {}
        }
        self.process.wait()
    }
}

/// What is captured of one stream.
struct Captured<'a> {
    into: &'a mut Vec<u8>,
    /// So many bytes more may come.
    left: u64,
}

impl Captured<'_> {
    /// Reads for one turn, to the end, or until there is nothing for now; whether that was the end.
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
            // One that may not be killed goes on running.
            let _ = self.kill();
        }
    }
}

/// A child that nobody else holds: killed, and its status taken, unless its end was seen.
pub(super) struct Held(pub(super) Child);

impl Held {
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

impl Drop for Held {
    fn drop(&mut self) {
        let process = &self.0.process;
        // Before its status is taken: after that the number of the group may be another's.
        if self.0.kill.group {
            let _ = process.kill_group();
        }
        if let Ok(None) = process.try_wait()
            && process.kill().is_ok()
        {
            let _ = shield(BURIAL, || process.wait_timeout(BURIAL));
        }
    }
}

/// Reads two pipes to their ends, each when there is something in it.
///
/// An epoll stands for both, so there is one descriptor to wait for, whoever waits.
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
