//! A child's end, watched by a pidfd.
//!
//! A pid means the child until its status is taken; after that it may mean another process. So the
//! pidfd is opened before any code can have waited for the child: std's `spawn` does not wait, and
//! no other code knows the pid yet. Two kinds of program break that: those that wait for *any*
//! child, and those that ignore SIGCHLD. Hence trine asks the kernel whether the pidfd is that of
//! its own child, and uses the pidfd for everything from then on.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::reactor::{Direction, Source};
use crate::signal::Signal;
use crate::sys::process::child::{self, Ended, ResourceUsage};
use crate::sys::signal;
use crate::task::budget;

/// A handle to a child process, for code that waits for the child or sends it signals besides the
/// owner of the [`Child`](super::Child).
///
/// It can be cloned. It never means another process: once the child has ended, signals do nothing.
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
    shared: Arc<Shared>,
}

/// The state that all clones share. Dropped with the last of them, when the child becomes an
/// orphan.
#[derive(Debug)]
struct Shared(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    pid: u32,
    pidfd: Source<OwnedFd>,
    /// The child's end and usage, once its status was taken here.
    ended: Mutex<Option<(Ended, Option<Usage>)>>,
}

/// Resources that a process had used when it ended, together with those of its children that it had
/// waited for. See [`Process::usage`].
///
/// ```
/// use std::time::Duration;
/// use trine::process::{Command, Usage};
///
/// let mut child = Command::new("true").spawn()?;
/// child.wait()?;
/// let usage: Usage = child.process().usage().expect("it has ended");
/// assert!(usage.user_time + usage.system_time < Duration::from_secs(60));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Processor time in its own code.
    pub user_time: Duration,
    /// Processor time in the kernel.
    pub system_time: Duration,
    /// Largest resident memory at any time, in bytes; that of the largest process, not a sum.
    pub max_resident: u64,
}

/// Children whose handles were dropped while they ran. From their end until [`reap_orphans`] they
/// are zombies.
static ORPHANS: Mutex<Vec<Arc<Watched>>> = Mutex::new(Vec::new());

impl Process {
    /// Watches the child `pid`, which was started just now. Kills it if it cannot be watched.
    pub(in crate::process) fn watch(pid: u32) -> io::Result<Process> {
        match child::open(pid) {
            Ok(pidfd) if child::is_own(&pidfd) => {
                // The status is taken with WNOHANG, so nothing blocks.
                let pidfd = Source::of_nonblocking(pidfd);
                let watched = Watched { pid, pidfd, ended: Mutex::new(None) };
                Ok(Process { shared: Arc::new(Shared(Arc::new(watched))) })
            }
            Ok(_) => Err(status_taken(pid)),
            Err(error) if error.raw_os_error() == Some(child::NO_SUCH_PROCESS) => {
                Err(status_taken(pid))
            }
            Err(error) => {
                child::kill_and_wait(pid);
                let text = format!("it was killed, as it cannot be watched: {error}");
                Err(io::Error::new(error.kind(), text))
            }
        }
    }

    /// Returns the process id. Until the status is taken, no other process has the same.
    pub fn id(&self) -> u32 {
        self.shared.0.pid
    }

    /// Returns the process id of the parent, which is this program; `None` once the child has ended
    /// and its status was taken.
    ///
    /// ```
    /// use trine::process::Command;
    ///
    /// let mut child = Command::new("sleep").arg("600").spawn()?;
    /// let process = child.process();
    /// assert_eq!(process.parent_id(), Some(std::process::id()));
    /// child.kill()?;
    /// child.wait()?;
    /// assert_eq!(process.parent_id(), None);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn parent_id(&self) -> Option<u32> {
        self.shared.0.poll().is_none().then(std::process::id)
    }

    /// Returns the child's resource usage once it has ended; `None` while it runs, or if other code
    /// has taken its status.
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
        self.shared.0.poll();
        let ended = self.shared.0.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.and_then(|(_, usage)| usage)
    }

    /// Waits for the child's end. Any number of callers may wait; all of them return.
    ///
    /// ```
    /// use trine::process::Command;
    ///
    /// let process = Command::new("true").spawn()?.process();
    /// assert!(process.wait()?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - The wait was interrupted ([`Interrupted`](crate::Interrupted)); the child goes on running.
    /// - Other code of this program has taken the child's status.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        self.wait_for(None)
    }

    /// Waits for the child's end, for at most `timeout`; returns `None` if it still runs then.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Command;
    ///
    /// let process = Command::new("sleep").arg("600").spawn()?.process();
    /// assert!(process.wait_timeout(Duration::from_millis(5))?.is_none());
    /// process.kill()?;
    /// assert!(process.wait_timeout(Duration::MAX)?.is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        if timeout.is_zero() {
            return self.try_wait();
        }
        match self.wait_for(Some(timeout)) {
            Ok(status) => Ok(Some(status)),
            // This timeout has passed. One around the call comes with an `Interrupted` inside.
            Err(error) if error.kind() == io::ErrorKind::TimedOut && error.get_ref().is_none() => {
                self.try_wait()
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for the child's end, as a future: for async code, and for a `future` arm of
    /// [`select!`](macro@crate::sync::select). Dropped before it is ready, it has taken nothing.
    ///
    /// ```
    /// use trine::{future, process::Command};
    ///
    /// let process = Command::new("true").spawn()?.process();
    /// assert!(future::block_on(process.wait_async())?.success());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Other code of this program has taken the child's status; or the reactor cannot watch one
    /// more descriptor.
    pub async fn wait_async(&self) -> io::Result<ExitStatus> {
        loop {
            self.shared.0.pidfd.ready(Direction::Read).await?;
            if let Some(status) = self.try_wait()? {
                return Ok(status);
            }
        }
    }

    fn wait_for(&self, timeout: Option<Duration>) -> io::Result<ExitStatus> {
        self.shared.0.pidfd.retry(Direction::Read, timeout, |_| {
            self.try_wait()?.ok_or_else(|| io::ErrorKind::WouldBlock.into())
        })
    }

    /// Returns the child's status if it has ended; `None` while it runs.
    ///
    /// ```
    /// let process = trine::process::Command::new("sleep").arg("600").spawn()?.process();
    /// assert!(process.try_wait()?.is_none());
    /// process.kill()?;
    /// process.wait()?;
    /// assert!(process.try_wait()?.is_some());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Other code of this program has taken the child's status.
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        budget::spend();
        match self.shared.0.poll() {
            None => Ok(None),
            Some(Ended::Exited(code)) => Ok(Some(ExitStatus::from_raw((code & 0xff) << 8))),
            Some(Ended::Signaled { signal, core_dumped }) => {
                let dumped = if core_dumped { 0x80 } else { 0 };
                Ok(Some(ExitStatus::from_raw(signal | dumped)))
            }
            Some(Ended::Unknown) => Err(status_taken(self.id())),
        }
    }

    /// Kills the child by SIGKILL. Does nothing if it has ended.
    ///
    /// ```
    /// use std::os::unix::process::ExitStatusExt;
    ///
    /// let process = trine::process::Command::new("sleep").arg("600").spawn()?.process();
    /// process.kill()?;
    /// assert_eq!(process.wait()?.signal(), Some(9));
    /// process.kill()?; // does nothing
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The child runs with rights that the caller may not override.
    pub fn kill(&self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Sends the child a signal. Does nothing if it has ended.
    ///
    /// # Errors
    ///
    /// There is no such signal, or the child runs with rights that the caller may not override.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        child::signal(&self.shared.0.pidfd, signal.as_raw())
    }
}

impl Process {
    /// Kills the group that the child leads, unless its status was taken: until then no other group
    /// has the number.
    pub(super) fn kill_group(&self) -> io::Result<()> {
        let ended = self.shared.0.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_some() {
            return Ok(());
        }
        signal::send_group(self.id(), signal::SIGKILL)
    }
}

impl Watched {
    /// Returns the child's end, if it has ended. One caller takes the status from the kernel, the
    /// others find it here.
    fn poll(&self) -> Option<Ended> {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_none() {
            *ended = child::reap_with_usage(&self.pidfd).map(|(ended, used)| {
                let usage = used.map(|used| {
                    let ResourceUsage { user_time, system_time, max_resident } = used;
                    Usage { user_time, system_time, max_resident }
                });
                (ended, usage)
            });
        }
        ended.map(|(ended, _)| ended)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.0.poll().is_none() {
            ORPHANS.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&self.0));
        }
    }
}

/// Reaps the children that have ended and whose handles are all dropped.
pub(in crate::process) fn reap_orphans() {
    let mut orphans = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
    orphans.retain(|orphan| orphan.poll().is_none());
}

fn status_taken(pid: u32) -> io::Error {
    io::Error::other(format!(
        "process {pid} has ended, and other code of this program has taken its status: it waits \
         for any child (`waitpid` with -1), or SIGCHLD is ignored"
    ))
}
