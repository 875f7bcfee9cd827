//! The end of a child, seen by a pidfd.
//!
//! A pid means the child until somebody has taken its status, and after that perhaps another process. So
//! the pidfd is opened while the child cannot have been waited for: std's `spawn` does not, and nobody
//! else knows of it. Two kinds of program break that, those that wait for *any* child and those that
//! ignore SIGCHLD; hence the kernel is asked whether what the pidfd is of is a child of ours, and after that
//! everything goes by the pidfd.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::reactor::{Direction, Source};
use crate::signal::Signal;
use crate::sys::process::child::{self, Ended, Used};
use crate::sys::signal;

/// A child process, for those who wait for it or send it signals beside the owner of the
/// [`Child`](super::Child).
///
/// It can be cloned, and never means another process: signals go to the child or, once that has ended,
/// nowhere.
///
/// ```
/// use trine::{coroutine, process::Command, signal::Signal};
///
/// let mut child = Command::new("sleep").arg("600").spawn()?;
/// let process = child.process();
/// let killer = coroutine::spawn(move || process.signal(Signal::TERM));
/// assert!(!child.wait()?.success());
/// killer.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Process {
    last: Arc<Last>,
}

/// What all clones share; dropped with the last of them.
#[derive(Debug)]
struct Last(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    pid: u32,
    pidfd: Source<OwnedFd>,
    /// Its end and what it had used, once somebody here has taken its status.
    ended: Mutex<Option<(Ended, Option<Usage>)>>,
}

/// What a process had used when it ended, itself and those of its children that it had waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Processor time in its own code.
    pub user_time: Duration,
    /// Processor time in the kernel.
    pub system_time: Duration,
    /// The most memory that it had in use at any time (resident), in bytes; of the largest process, not all together.
    pub max_resident: u64,
}

/// Children that were dropped while they ran; they are zombies from their end until [`reap_orphans`].
static ORPHANS: Mutex<Vec<Arc<Watched>>> = Mutex::new(Vec::new());

impl Process {
    /// Watches the child `pid`, which was started just now; kills it if that cannot be.
    pub(in super::super) fn watch(pid: u32) -> io::Result<Process> {
        match child::open(pid) {
            Ok(pidfd) if child::is_own(&pidfd) => {
                // Its status is asked for with WNOHANG, so nothing blocks.
                let pidfd = Source::of_nonblocking(pidfd);
                let watched = Watched { pid, pidfd, ended: Mutex::new(None) };
                Ok(Process { last: Arc::new(Last(Arc::new(watched))) })
            }
            Ok(_) => Err(taken(pid)),
            Err(error) if error.raw_os_error() == Some(child::NO_SUCH_PROCESS) => Err(taken(pid)),
            Err(error) => {
                child::kill_and_wait(pid);
                let text = format!("it was killed, as it cannot be watched: {error}");
                Err(io::Error::new(error.kind(), text))
            }
        }
    }

    /// Its process id. While the status has not been taken, no other process has the same.
    pub fn id(&self) -> u32 {
        self.last.0.pid
    }

    /// The process id of its parent, this program; `None` once it has ended and its status was taken.
    pub fn parent_id(&self) -> Option<u32> {
        self.last.0.look().is_none().then(std::process::id)
    }

    /// What it had used, when it has ended; `None` while it runs, and where somebody else has taken its status.
    ///
    /// ```
    /// use trine::process::Command;
    ///
    /// let mut child = Command::new("true").spawn()?;
    /// child.wait()?;
    /// let usage = child.process().usage().expect("it has ended");
    /// println!("{:?} and {} KiB", usage.user_time + usage.system_time, usage.max_resident >> 10);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn usage(&self) -> Option<Usage> {
        self.last.0.look();
        let ended = self.last.0.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.and_then(|(_, usage)| usage)
    }

    /// Waits for its end. Any number may wait; all are told.
    ///
    /// # Errors
    ///
    /// What ends a wait from outside ([`Interrupted`](crate::Interrupted)); the child goes on running then.
    /// Somebody else has taken its status.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        self.wait_for(None)
    }

    /// Waits for its end, for at most `timeout`; `None` if it still runs then.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        match self.wait_for(Some(timeout)) {
            Ok(status) => Ok(Some(status)),
            // Our own time; that of others comes with an `Interrupted` inside.
            Err(error) if error.kind() == io::ErrorKind::TimedOut && error.get_ref().is_none() => {
                self.try_wait()
            }
            Err(error) => Err(error),
        }
    }

    fn wait_for(&self, timeout: Option<Duration>) -> io::Result<ExitStatus> {
        self.last.0.pidfd.retry(Direction::Read, timeout, |_| {
            self.try_wait()?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
        })
    }

    /// How it has ended; `None` while it runs.
    ///
    /// # Errors
    ///
    /// Somebody else has taken its status.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        match self.last.0.look() {
            None => Ok(None),
            Some(Ended::Exited(code)) => Ok(Some(ExitStatus::from_raw((code & 0xff) << 8))),
            Some(Ended::Signaled { signal, core_dumped }) => {
                let dumped = if core_dumped { 0x80 } else { 0 };
                Ok(Some(ExitStatus::from_raw(signal | dumped)))
            }
            Some(Ended::Unknown) => Err(taken(self.id())),
        }
    }

    /// Ends it by SIGKILL. Does nothing if it has ended.
    ///
    /// # Errors
    ///
    /// It runs with rights that the caller may not override.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Sends it a signal. Does nothing if it has ended.
    ///
    /// # Errors
    ///
    /// There is no such signal; it runs with rights that the caller may not override.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        child::signal(&self.last.0.pidfd, signal.as_raw())
    }
}

impl Process {
    /// Kills the group that it leads, if its status was not taken yet: so long the number is its own.
    pub(super) fn kill_group(&self) -> io::Result<()> {
        let ended = self.last.0.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_some() {
            return Ok(());
        }
        signal::send_group(self.id(), signal::SIGKILL)
    }
}

impl Watched {
    /// How it has ended. One caller takes the status from the kernel, the others find it here.
    fn look(&self) -> Option<Ended> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_none() {
            *ended = child::reap_with_usage(&self.pidfd).map(|(ended, used)| {
                let usage = used.map(|used| {
                    let Used { user_time, system_time, max_resident } = used;
                    Usage { user_time, system_time, max_resident }
                });
                (ended, usage)
            });
        }
        ended.map(|(ended, _)| ended)
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        if self.0.look().is_none() {
            ORPHANS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&self.0));
        }
    }
}

/// Takes the status of those that nobody waits for and that have ended.
pub(in super::super) fn reap_orphans() {
    let mut orphans = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
    orphans.retain(|orphan| orphan.look().is_none());
}

fn taken(pid: u32) -> io::Error {
    io::Error::other(format!(
        "process {pid} has ended, and other code of this program has taken its status: it waits for any \
         child (`waitpid` with -1), or SIGCHLD is ignored"
    ))
}
