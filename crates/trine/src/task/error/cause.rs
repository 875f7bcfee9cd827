//! The cause for which a task has no value.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::backtrace::Backtrace;
use super::limit::Limit;
use crate::sys::signal::signal_name;

/// The cause for which a task has no value.
///
/// ```
/// use trine::{Cause, process};
///
/// let task = process::spawn((), |()| -> () { std::process::exit(3) });
/// match task.join().unwrap_err().cause() {
///     Cause::Exited { code } => assert_eq!(*code, 3),
///     Cause::Signaled { signal, .. } => println!("ended by signal {signal}"),
///     other => println!("{other}"),
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Cause {
    /// The task's function panicked.
    #[non_exhaustive]
    Panicked {
        /// The message of the panic; empty if its payload was no string.
        message: String,
        /// The place of the panic; `None` if a panic hook set later by the program hides it.
        location: Option<SourceLocation>,
        /// The calls that led there.
        backtrace: Backtrace,
    },
    /// The task was cancelled, and gave up.
    #[non_exhaustive]
    Cancelled {
        /// The reason given with the cancellation.
        reason: Option<Arc<str>>,
    },
    /// A deadline around the task has passed, and it gave up.
    TimedOut,
    /// The task's process exited before there was a result.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// The task's process was ended by a signal: a crash, an `abort`, a `kill`.
    #[non_exhaustive]
    Signaled {
        /// The signal's number.
        signal: i32,
        /// True if the kernel wrote a core file.
        core_dumped: bool,
        /// True if the process died because memory had run out: an allocation failed, or the kernel
        /// killed it in its control group. False where that is not known, as when the kernel kills
        /// because the whole machine is short of memory.
        out_of_memory: bool,
        /// The limit that the process had met, if that is known.
        limit: Option<Limit>,
    },
    /// The task's process overflowed its stack, which it reported before it died.
    StackOverflow,
    /// The task's process was lost, and with it the end of the task: the process closed its
    /// connection, sent bytes that no worker sends, or could not be killed. In a copy of the
    /// program made by `fork`, tasks of the original are lost.
    #[non_exhaustive]
    Lost {
        /// The observation that led to this verdict.
        reason: String,
    },
    /// The task never ran, because a limit was met.
    NotSpawned {
        /// The refusal, with the limit and the remedy.
        reason: String,
    },
    /// The task's argument or result could not cross between the processes.
    Codec {
        /// The value, and the side on which it failed.
        stage: CodecStage,
        /// The message of the encoder or decoder.
        message: String,
    },
}

/// The value that failed to cross between two processes, and the side on which it failed.
///
/// ```
/// use trine::{Cause, CodecStage, process};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Secret(#[serde(skip_deserializing, serialize_with = "refuse")] ());
/// fn refuse<S: serde::Serializer>(_: &(), _: S) -> Result<S::Ok, S::Error> {
///     Err(serde::ser::Error::custom("it stays here"))
/// }
///
/// let error = process::spawn(Secret(()), |_| ()).join().unwrap_err();
/// let Cause::Codec { stage, .. } = error.cause() else { panic!("{error}") };
/// assert_eq!(*stage, CodecStage::EncodeArgument);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CodecStage {
    /// Encoding the argument, in the caller's process.
    EncodeArgument,
    /// Decoding the argument, in the worker.
    DecodeArgument,
    /// Encoding the result, in the worker.
    EncodeResult,
    /// Decoding the result, in the caller's process.
    DecodeResult,
}

/// A place in source code that can cross between processes.
///
/// ```
/// use trine::{Cause, process};
///
/// let error = process::spawn((), |()| -> () { panic!("in the worker") }).join().unwrap_err();
/// let Cause::Panicked { location: Some(place), .. } = error.cause() else { panic!("{error}") };
/// println!("{place}"); // src/main.rs:3:44
/// assert!(place.line > 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLocation {
    /// The file, by the path that the compiler was given.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl From<&Location<'_>> for SourceLocation {
    fn from(at: &Location<'_>) -> SourceLocation {
        SourceLocation { file: at.file().to_owned(), line: at.line(), column: at.column() }
    }
}

impl fmt::Display for SourceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl Cause {
    /// Returns true if the task's process died under it.
    pub(crate) fn is_crash(&self) -> bool {
        matches!(
            self,
            Cause::Exited { .. }
                | Cause::Signaled { .. }
                | Cause::StackOverflow
                | Cause::Lost { .. }
        )
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Panicked { message, location, .. } => {
                f.write_str("panicked")?;
                if let Some(location) = location {
                    write!(f, " at {location}")?;
                }
                if message.is_empty() { Ok(()) } else { write!(f, ": {message}") }
            }
            Cause::Cancelled { reason: Some(reason) } => write!(f, "was cancelled: {reason}"),
            Cause::Cancelled { reason: None } => f.write_str("was cancelled"),
            Cause::TimedOut => f.write_str("timed out"),
            Cause::Exited { code } => {
                write!(f, "its process exited with code {code} before it had a result")
            }
            Cause::Signaled { signal, core_dumped, out_of_memory, limit } => {
                let core = if *core_dumped { ", core dumped" } else { "" };
                write!(f, "its process was ended by {} ({signal}){core}", signal_name(*signal))?;
                match limit {
                    Some(limit @ Limit::Memory(_)) => {
                        write!(f, ": it needed more than its {limit}")
                    }
                    Some(limit @ Limit::CpuTime(_)) => write!(f, ": it had used up its {limit}"),
                    None if *out_of_memory => f.write_str(": it ran out of memory"),
                    None => Ok(()),
                }
            }
            Cause::StackOverflow => f.write_str(
                "its process overflowed its stack; raise the limit with `ulimit -s`, or recurse \
                 less",
            ),
            Cause::Lost { reason } => write!(f, "lost its process: {reason}"),
            Cause::NotSpawned { reason } => write!(f, "could not be started: {reason}"),
            Cause::Codec { stage, message } => {
                let stage = match stage {
                    CodecStage::EncodeArgument => "its argument could not be encoded",
                    CodecStage::DecodeArgument => "its argument could not be decoded by the worker",
                    CodecStage::EncodeResult => "its result could not be encoded by the worker",
                    CodecStage::DecodeResult => "its result could not be decoded",
                };
                write!(f, "{stage}: {message}")
            }
        }
    }
}
