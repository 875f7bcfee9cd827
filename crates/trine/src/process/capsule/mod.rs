//! Crash capsules: a file for each task that failed in its worker, from which it runs again.
//!
//! ```text
//!   pool ── task fails ──► capsule ──► trine replay FILE ──► the same program, TRINE_REPLAY=FILE
//!                          (store.rs)                        (replay.rs): one worker, one task
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | [`Capsule`] |
//! | `contents.rs` | the format of the file |
//! | `settings.rs` | the settings of the pool, for the replay |
//! | `store.rs` | the directory: writing, bounds |

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(in crate::process) mod contents;
pub(in crate::process) mod settings;
pub(in crate::process) mod store;

use crate::sys::process::image;
use contents::Contents;

/// The variable that makes a program replay a capsule in place of its `main`: `worker:FILE` or
/// `here:FILE`.
pub(in crate::process) const VARIABLE: &str = "TRINE_REPLAY";

/// A failed task, as a pool with [`capsules`](super::PoolBuilder::capsules) has recorded it.
///
/// The program `trine` shows a capsule and runs it again: `trine replay FILE`, or
/// `trine replay --gdb FILE` to have it fail under the debugger. The task runs alone, in a worker
/// of the same executable with the settings of its pool, its argument, directory and environment.
///
/// ```
/// use trine::process::{Capsule, Pool, Replay};
///
/// # let directory = format!("trine-doc-capsule-{}", std::process::id());
/// # let directory = std::env::temp_dir().join(directory);
/// let pool = Pool::builder().workers(1).capsules(&directory).build();
/// let crash = pool.spawn((), |()| -> () { std::process::abort() });
/// let error = crash.join().unwrap_err();
///
/// let capsule = Capsule::read(error.capsule().unwrap())?;
/// assert!(capsule.cause().contains("SIGABRT"));
/// let again = capsule.command(Replay::Worker).output()?;
/// assert_eq!(again.status.code(), Some(Capsule::FAILED));
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Capsule {
    file: PathBuf,
    contents: Contents,
}

/// The place in which a capsule's task runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// In a worker of its own, as in its pool: a crash is reported with its cause.
    Worker,
    /// In the started process itself, on its first thread: for a debugger. A crash ends it.
    Here,
}

impl Capsule {
    /// The exit code of a replay whose task has failed.
    pub const FAILED: i32 = 1;

    /// The exit code of a program that cannot replay the capsule; standard error has the reason.
    pub const REFUSED: i32 = 2;

    /// Reads a capsule.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is no capsule of this version of trine, or may have been written by
    /// another user than this one and root.
    pub fn read(file: impl AsRef<Path>) -> io::Result<Capsule> {
        // A replay changes its directory.
        let file = std::path::absolute(file)?;
        let contents = Contents::read(&file)?;
        Ok(Capsule { file, contents })
    }

    /// Returns the executable of the program.
    pub fn program(&self) -> &Path {
        Path::new(&self.contents.program.path)
    }

    /// Returns true if `program` is the build that recorded the capsule, and so can replay it.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no program.
    pub fn is_of(&self, program: impl AsRef<Path>) -> io::Result<bool> {
        let file = File::open(program)?;
        Ok(image::fingerprint_of(&file)? == self.contents.program.fingerprint)
    }

    /// Returns the environment of the program, in no particular order.
    pub fn environment(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.contents.program.environment.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Returns the description of the task: its kind, name, number and place in the source.
    pub fn task(&self) -> &str {
        &self.contents.end.task
    }

    /// Returns the encoded argument as it crossed to the worker.
    ///
    /// # Errors
    ///
    /// The capsule does not hold the argument, and cannot be replayed; the text says why.
    pub fn argument(&self) -> Result<&[u8], &str> {
        let argument = self.contents.call.argument.as_ref().map_err(String::as_str)?;
        // A long argument is in sealed memory, the last one.
        Ok(match argument.memories.last() {
            Some(memory) if argument.bytes.len() == 1 => memory,
            _ => &argument.bytes,
        })
    }

    /// Returns the text of the cause.
    pub fn cause(&self) -> &str {
        &self.contents.end.cause
    }

    /// Returns the backtrace of a panic; empty for another cause.
    pub fn backtrace(&self) -> &str {
        &self.contents.end.backtrace
    }

    /// Returns the number of times that the task has run.
    pub fn attempts(&self) -> u32 {
        self.contents.end.attempt
    }

    /// Returns the end of the task's standard output; empty if its pool did not
    /// [capture](super::PoolBuilder::capture_output) it.
    pub fn stdout(&self) -> &[u8] {
        &self.contents.end.stdout
    }

    /// Returns the end of the task's standard error; see [`stdout`](Capsule::stdout).
    pub fn stderr(&self) -> &[u8] {
        &self.contents.end.stderr
    }

    /// Returns the time at which the task failed.
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.contents.end.time)
    }

    /// Returns a command that runs the task again, in place of the program's `main`.
    ///
    /// Its exit code is 0 if the task returned a value, [`FAILED`](Capsule::FAILED) if it failed
    /// in a worker, [`REFUSED`](Capsule::REFUSED) if the executable cannot replay this capsule, as
    /// another build cannot.
    pub fn command(&self, replay: Replay) -> Command {
        let mut command = Command::new(self.program());
        command.args(&self.contents.program.arguments).env(VARIABLE, self.variable(replay));
        command
    }

    /// Returns the value of the variable.
    fn variable(&self, replay: Replay) -> OsString {
        let mut value = OsString::from(match replay {
            Replay::Worker => "worker:",
            Replay::Here => "here:",
        });
        value.push(&self.file);
        value
    }
}

impl fmt::Debug for Capsule {
    /// Leaves the argument and the environment out: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capsule")
            .field("file", &self.file)
            .field("program", &self.program())
            .field("task", &self.task())
            .field("cause", &self.cause())
            .finish_non_exhaustive()
    }
}
