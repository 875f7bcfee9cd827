//! This program twice.

use std::error::Error;
use std::fmt;
use std::io::{self, Read};

use super::command::Process;
use crate::sys::process::clone;
use crate::sys::signal::sigterm;
use crate::sys::{limits, observe};
use crate::task::park;

/// On which side of a [`fork()`] the caller finds itself.
#[derive(Debug)]
pub enum Fork {
    /// In the process that called; the new one is its child. Dropping the handle does not end the child.
    Parent(Process),
    /// In the new process.
    Child,
}

/// Why there is no new process.
#[derive(Debug)]
pub struct ForkError {
    why: Why,
}

#[derive(Debug)]
enum Why {
    Threads(u32),
    Worker,
    Refused { text: String, error: io::Error },
}

/// Makes a copy of the calling process, in which this call returns, too: `fork(2)` for a program that has one
/// thread.
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
/// With other threads it is an error, not a child in which they are gone and the locks that they held are not.
/// Coroutines, process tasks, signal listeners and pools start threads that stay: fork before them, in `main`. In the child
/// all of them can be used, and start afresh. A thread that has ended is waited for, until it is gone.
///
/// # What both have
///
/// - All memory is copied, as it is at this moment: also what was printed and not yet flushed, which both then
///   print; the state of random number generators; ids of tasks. Memory that was mapped to be shared is shared.
/// - All descriptors are open in both and mean the same files with one position, the same connections. Close what is the
///   other's.
/// - Destructors of values from before the fork run in both: a temporary file is removed twice.
/// - Local coroutines ([`spawn_local`](crate::coroutine::spawn_local)) go on in both, with the caller's one.
///
/// [`Process`]es and children from before the fork are the parent's: the child cannot wait for them, only send them
/// signals. Timers of the kernel, its pending signals and record locks stay with the parent (`fork(2)`).
///
/// A [`Process`] that was dropped is reaped at its end by the next start of a program or fork.
///
/// # Errors
///
/// Other threads exist; the caller is in a process task, which the child would answer a second time; the
/// kernel refuses a process (the text names the limit), or a descriptor to watch it with.
pub fn fork() -> Result<Fork, ForkError> {
    if sigterm::is_installed() {
        return Err(ForkError { why: Why::Worker });
    }
    match observe::threads_that_stay() {
        Ok(1) => {}
        Ok(threads) => return Err(ForkError { why: Why::Threads(threads) }),
        Err(error) => {
            let text = limits::explain_missing("count of threads (/proc/self/status)", &error);
            return Err(refused(text, error));
        }
    }
    super::command::reap_orphans();
    // The child waits for an end of file: so it neither runs nor ends before it is watched.
    let (mut gate, opener) = io::pipe()
        .map_err(|error| refused(limits::explain_missing("pipe for a fork", &error), error))?;
    // SAFETY: there is one thread (above), the caller, so nobody has started another since. What both own
    // from now on is said in the documentation; what trine has of the kind is given up below.
    let forked = unsafe { clone::fork() };
    match forked {
        Ok(None) => {
            drop(opener);
            let _ = gate.read_to_end(&mut Vec::new());
            park::begin_anew();
            Ok(Fork::Child)
        }
        Ok(Some(pid)) => {
            // Its number is free for the handle.
            drop(gate);
            let process = Process::watch(pid);
            drop(opener);
            process.map(Fork::Parent).map_err(|error| refused(error.to_string(), error))
        }
        Err(error) => Err(refused(limits::explain_refused_task("process", &error), error)),
    }
}

fn refused(text: String, error: io::Error) -> ForkError {
    ForkError { why: Why::Refused { text, error } }
}

impl ForkError {
    /// Whether other threads were there.
    pub fn is_multithreaded(&self) -> bool {
        matches!(self.why, Why::Threads(_))
    }
}

impl fmt::Display for ForkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Threads(threads) => write!(
                f,
                "this process has {threads} threads, of which a fork would take one, and the locks of \
                 all: fork before the first thread, coroutine, process task or signal listener, or use \
                 `process::spawn`"
            ),
            Why::Worker => f.write_str(
                "the caller is in a process task, and the child would answer it a second time: use \
                 `process::spawn`",
            ),
            Why::Refused { text, .. } => f.write_str(text),
        }
    }
}

impl Error for ForkError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.why {
            Why::Refused { error, .. } => Some(error),
            Why::Threads(_) | Why::Worker => None,
        }
    }
}

impl From<ForkError> for io::Error {
    fn from(error: ForkError) -> io::Error {
        let kind = match &error.why {
            Why::Refused { error, .. } => error.kind(),
            Why::Threads(_) | Why::Worker => io::ErrorKind::Unsupported,
        };
        io::Error::new(kind, error)
    }
}
