//! `fork(2)` for a program that has one thread.

use std::error::Error;
use std::fmt;
use std::io::{self, Read};

use super::command::Process;
use crate::sys::memory::sealed;
use crate::sys::process::{clone, fork_detect};
use crate::sys::signal::sigterm;
use crate::sys::{limits, observe};
use crate::task::park;

/// The side of a [`fork()`] on which the call has returned.
///
/// ```
/// use trine::process::{Fork, fork};
///
/// if let Fork::Parent(child) = fork()? {
///     assert!(child.wait()?.success());
/// } else {
///     std::process::exit(0);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub enum Fork {
    /// The calling process, with a handle to the child. Dropping the handle does not end the child.
    Parent(Process),
    /// The new process.
    Child,
}

/// The error of a [`fork()`]: there is no new process.
///
/// ```
/// use std::sync::mpsc;
/// use trine::process::fork;
///
/// let (go, wait) = mpsc::channel::<()>();
/// let thread = std::thread::spawn(move || wait.recv());
/// assert!(fork().unwrap_err().is_multithreaded());
/// # drop(go);
/// # thread.join().unwrap().unwrap_err();
/// ```
#[derive(Debug)]
pub struct ForkError {
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    /// The process has this many threads.
    Threads(u32),
    /// The caller is in a process task.
    Worker,
    /// Shared memory is being filled.
    Draft,
    /// The kernel refuses a resource.
    Refused { text: String, error: io::Error },
}

/// Copies the calling process, and returns in both: `fork(2)` for a program that has one thread.
///
/// ```
/// use trine::process::{Fork, fork};
///
/// match fork()? {
///     Fork::Child => std::process::exit(3),
///     Fork::Parent(child) => assert_eq!(child.wait()?.code(), Some(3)),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// With other threads the call returns an error. Their locks would stay locked in the child, where
/// the threads do not exist. Coroutines, process tasks, signal listeners and pools start threads
/// that stay, so fork before them, in `main`. The child can use all of them; they start afresh
/// there. The call waits for a thread that is exiting.
///
/// # Shared and copied state
///
/// - All memory is copied as it is at this moment. That includes output that is not yet flushed,
///   which both then print, the state of random number generators, and ids of tasks. Memory that is
///   mapped as shared is shared: what is in [`ipc`](crate::ipc) goes on in both.
/// - An [`ipc::Mutex`](crate::ipc::Mutex) stays the parent's, with its guards. In the child it
///   panics; the child makes one of its own, of the descriptors.
/// - All descriptors are open in both. They refer to the same files, with one position, and to the
///   same connections. Each side should close those that only the other uses.
/// - Destructors of values from before the fork run in both: a temporary file is removed twice.
/// - Local coroutines ([`spawn_local`](crate::coroutine::spawn_local)) go on in both, as the caller
///   does.
///
/// [`Process`]es and children from before the fork are the parent's: the child cannot wait for
/// them, only send them signals. Kernel timers, pending signals and record locks stay with the
/// parent (`fork(2)`).
///
/// If a [`Process`] is dropped, the next start of a program or fork reaps its child after the
/// child's end.
///
/// # Errors
///
/// - Other threads exist.
/// - The caller is in a process task, whose result the child would send a second time.
/// - A [`Shared`](crate::ipc::Shared::build) is being built, by the caller or in a suspended
///   coroutine or generator: both processes would fill it.
/// - The kernel refuses a process (the text names the limit), or a descriptor to watch it.
pub fn fork() -> Result<Fork, ForkError> {
    if sigterm::is_installed() {
        return Err(ForkError { reason: Reason::Worker });
    }
    match observe::threads_that_stay() {
        Ok(1) => {}
        Ok(threads) => return Err(ForkError { reason: Reason::Threads(threads) }),
        Err(error) => {
            let text = limits::explain_missing("count of threads (/proc/self/status)", &error);
            return Err(refused(text, error));
        }
    }
    if sealed::drafts() > 0 {
        return Err(ForkError { reason: Reason::Draft });
    }
    super::command::reap_orphans();
    // The child waits for an end of file, so it neither runs on nor ends before it is watched.
    let (mut gate, opener) = io::pipe()
        .map_err(|error| refused(limits::explain_missing("pipe for a fork", &error), error))?;
    // SAFETY: there is one thread (above), the caller, so no other thread can have started one
    // since. The documentation lists the state that both own from now on; the child gives up
    // trine's part of it below (`begin_anew`).
    let forked = unsafe { clone::fork() };
    match forked {
        Ok(None) => {
            drop(opener);
            let _ = gate.read_to_end(&mut Vec::new());
            park::drop_bell();
            fork_detect::begin_anew();
            Ok(Fork::Child)
        }
        Ok(Some(pid)) => {
            // Frees a descriptor for the handle.
            drop(gate);
            let process = Process::watch(pid);
            drop(opener);
            process.map(Fork::Parent).map_err(|error| refused(error.to_string(), error))
        }
        Err(error) => Err(refused(limits::explain_refused_task("process", &error), error)),
    }
}

fn refused(text: String, error: io::Error) -> ForkError {
    ForkError { reason: Reason::Refused { text, error } }
}

impl ForkError {
    /// Returns true if the process had other threads.
    pub fn is_multithreaded(&self) -> bool {
        matches!(self.reason, Reason::Threads(_))
    }
}

impl fmt::Display for ForkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Threads(threads) => write!(
                f,
                "this process has {threads} threads; a fork would copy one of them, and the locks \
                 of all: fork before the first thread, coroutine, process task or signal listener, \
                 or use `process::spawn`"
            ),
            Reason::Worker => f.write_str(
                "the caller is in a process task, whose result the child would send a second time: \
                 use `process::spawn`",
            ),
            Reason::Draft => f.write_str(
                "a `Shared` is being built, which both processes would fill: fork before \
                 `Shared::build`, or after it",
            ),
            Reason::Refused { text, .. } => f.write_str(text),
        }
    }
}

impl Error for ForkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.reason {
            Reason::Refused { error, .. } => Some(error),
            Reason::Threads(_) | Reason::Worker | Reason::Draft => None,
        }
    }
}

impl From<ForkError> for io::Error {
    fn from(error: ForkError) -> io::Error {
        let kind = match &error.reason {
            Reason::Refused { error, .. } => error.kind(),
            Reason::Threads(_) | Reason::Worker | Reason::Draft => io::ErrorKind::Unsupported,
        };
        io::Error::new(kind, error)
    }
}
