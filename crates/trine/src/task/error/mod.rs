//! The one error of a task, whichever way it ran and whichever way it ended.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::info::TaskInfo;
use crate::sys::signal::signal_name;

mod backtrace;
mod limit;
mod printed;

pub use backtrace::Backtrace;
pub use limit::Limit;
pub(crate) use limit::bytes;
pub(crate) use printed::Printed;

/// Why a task has no value: what happened, and to which task.
///
/// ```
/// let task = trine::thread::spawn(|| -> u32 { "seven".parse().unwrap() });
/// let error = task.join().unwrap_err();
/// assert!(error.is_panic());
/// println!("{error}"); // thread #1 (src/main.rs:3:12) panicked at src/main.rs:3:59: called …
/// ```
#[derive(Clone)]
pub struct TaskError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    cause: Cause,
    task: Option<TaskInfo>,
    attempt: u32,
    argument: Option<usize>,
    payload: Payload,
    printed: Option<Arc<Printed>>,
    suppressed: Vec<TaskError>,
}

/// A panic's own payload, kept so that the panic can go on in the joiner; clones of the error share it. The
/// lock makes the error `Sync`: a payload is `Send` and need not be more.
type Payload = Option<Arc<Mutex<Option<Box<dyn Any + Send>>>>>;

/// What happened to a task that has no value.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Cause {
    /// Its function panicked.
    #[non_exhaustive]
    Panicked {
        /// What the panic said; empty if its payload was no string.
        message: String,
        /// Where it panicked; `None` if a panic hook set later by the program hides it.
        location: Option<SourceLocation>,
        /// The calls that led there.
        backtrace: Backtrace,
    },
    /// It was cancelled, and gave up.
    #[non_exhaustive]
    Cancelled {
        /// The reason given with the cancellation.
        reason: Option<Arc<str>>,
    },
    /// A deadline around it has passed, and it gave up.
    TimedOut,
    /// Its process ended with this exit code before there was a result.
    Exited {
        /// The exit code.
        code: i32,
    },
    /// Its process was ended by a signal: a crash, an `abort`, a `kill`.
    #[non_exhaustive]
    Signaled {
        /// The signal's number.
        signal: i32,
        /// Whether the kernel wrote a core file.
        core_dumped: bool,
        /// Whether it died because memory had run out: an allocation failed, or the kernel has
        /// killed it in its control group. `false` where that is not known, as when the kernel
        /// kills because the whole machine is short of memory.
        out_of_memory: bool,
        /// The limit that it had met, if that is known.
        limit: Option<Limit>,
    },
    /// Its process ran off the end of its stack; the process itself said so before it died.
    StackOverflow,
    /// Its process was lost, and how the task would have ended cannot be known: it closed its
    /// connection, or sent what no worker sends.
    #[non_exhaustive]
    Lost {
        /// What was seen.
        reason: String,
    },
    /// It never ran, because a limit was met; the text names the limit and the remedy.
    NotSpawned {
        /// What was refused, and what to do.
        reason: String,
    },
    /// Its argument or its result could not cross between the processes.
    Codec {
        /// Which value, and which way.
        stage: CodecStage,
        /// What the encoder or decoder said.
        message: String,
    },
}

/// Which value failed to cross between two processes, and on which side.
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLocation {
    /// The file, as the compiler was told.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
}

impl TaskError {
    pub(crate) fn new(cause: Cause, task: Option<TaskInfo>) -> TaskError {
        TaskError(Box::new(Inner {
            cause,
            task,
            attempt: 1,
            argument: None,
            payload: None,
            printed: None,
            suppressed: Vec::new(),
        }))
    }

    pub(crate) fn with_printed(mut self, printed: Option<Printed>) -> TaskError {
        self.0.printed = printed.map(Arc::new);
        self
    }

    pub(crate) fn with_attempt(mut self, attempt: u32) -> TaskError {
        self.0.attempt = attempt;
        self
    }

    pub(crate) fn with_argument(mut self, argument: usize) -> TaskError {
        self.0.argument = Some(argument);
        self
    }

    pub(crate) fn with_suppressed(mut self, suppressed: Vec<TaskError>) -> TaskError {
        self.0.suppressed = suppressed;
        self
    }

    pub(crate) fn with_payload(mut self, payload: Box<dyn Any + Send>) -> TaskError {
        self.0.payload = Some(Arc::new(Mutex::new(Some(payload))));
        self
    }

    /// What happened.
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// To which task.
    pub fn task(&self) -> Option<&TaskInfo> {
        self.0.task.as_ref()
    }

    /// In which run of the task it happened, from 1; more than 1 only where retries were asked for.
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// Of a task of a [map](crate::Executor::map): which of the arguments it had, from 0.
    ///
    /// ```
    /// use trine::{Executor, Kind};
    ///
    /// let words = ["3", "1o", "5"].map(String::from);
    /// let numbers = Kind::Thread.map(words.clone(), |word: String| word.parse::<u32>().unwrap()).unordered();
    /// let errors: Vec<_> = numbers.filter_map(Result::err).collect();
    /// assert_eq!(words[errors[0].argument().unwrap()], "1o");
    /// ```
    pub fn argument(&self) -> Option<usize> {
        self.0.argument
    }

    /// The end of what the task had printed on its standard output, at most 8 KiB; empty if that was not
    /// [captured](crate::process::Builder::capture_output). Not all programs print UTF-8.
    pub fn stdout(&self) -> &[u8] {
        self.0.printed.as_ref().map_or(&[], |printed| &printed.stdout)
    }

    /// As [`stdout`](Self::stdout), of its standard error.
    ///
    /// ```
    /// let task = trine::process::Builder::new().capture_output().spawn((), |()| -> () {
    ///     eprintln!("no such planet");
    ///     std::process::exit(3)
    /// });
    /// let error = task.join().unwrap_err();
    /// assert_eq!(error.stderr(), b"no such planet\n");
    /// assert!(error.to_string().ends_with("; last on its standard error: no such planet"));
    /// ```
    pub fn stderr(&self) -> &[u8] {
        self.0.printed.as_ref().map_or(&[], |printed| &printed.stderr)
    }

    /// The line on standard error that tells most of a process that could not report by itself.
    fn last_line(&self) -> Option<String> {
        let is_mute = matches!(
            self.0.cause,
            Cause::Exited { .. } | Cause::Signaled { .. } | Cause::Lost { .. } | Cause::TimedOut
        );
        self.0.printed.as_ref().filter(|_| is_mute)?.last_line()
    }

    /// The failures that came after this one in the same [`scope`](crate::scope()) or
    /// [`race`](crate::race).
    pub fn suppressed(&self) -> &[TaskError] {
        &self.0.suppressed
    }

    /// Whether the task's function panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0.cause, Cause::Panicked { .. })
    }

    /// Whether the task was cancelled. The error of a `join` in a cancelled task is one too: then
    /// [`task`](TaskError::task) names that task.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.cause, Cause::Cancelled { .. })
    }

    /// Whether the task's time was up.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.cause, Cause::TimedOut)
    }

    /// Whether the task's process died under it: by a signal, by `exit`, by a stack overflow, or so
    /// that nobody knows.
    pub fn is_crash(&self) -> bool {
        self.0.cause.is_crash()
    }

    /// Whether the task's process died because memory had run out; `false` where that is not known.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self.0.cause, Cause::Signaled { out_of_memory: true, .. })
    }

    /// Whether the task never ran because a limit was met.
    pub fn is_not_spawned(&self) -> bool {
        matches!(self.0.cause, Cause::NotSpawned { .. })
    }

    /// The panic's payload, to carry the panic on with [`std::panic::resume_unwind`]. A panic in
    /// another process gives its message, as a `String`; so does a clone of an error whose payload
    /// was taken.
    ///
    /// # Errors
    ///
    /// Returns the error itself if it is not a panic.
    pub fn into_panic(self) -> Result<Box<dyn Any + Send>, TaskError> {
        let Cause::Panicked { message, .. } = &self.0.cause else {
            return Err(self);
        };
        let payload = self.0.payload.as_ref();
        let payload = payload
            .and_then(|payload| payload.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(payload.unwrap_or_else(|| Box::new(message.clone())))
    }
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
                    Some(limit @ Limit::Memory(_)) => write!(f, ": it needed more than its {limit}"),
                    Some(limit @ Limit::CpuTime(_)) => write!(f, ": it had used up its {limit}"),
                    None if *out_of_memory => f.write_str(": it ran out of memory"),
                    None => Ok(()),
                }
            }
            Cause::StackOverflow => f.write_str(
                "its process overflowed its stack; raise the limit with `ulimit -s`, or recurse less",
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

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.task {
            Some(task) => write!(f, "{task}")?,
            None => f.write_str("task")?,
        }
        if let Some(argument) = self.0.argument {
            write!(f, ", argument {argument},")?;
        }
        write!(f, " {}", self.0.cause)?;
        if let Some(line) = self.last_line() {
            write!(f, "; last on its standard error: {line}")?;
        }
        match self.0.suppressed.len() {
            0 => Ok(()),
            1 => f.write_str(" (and one more failure)"),
            more => write!(f, " (and {more} more failures)"),
        }
    }
}

/// The text of [`Display`](fmt::Display), as `unwrap` and `main` show it; with `{:#?}` all parts. A text
/// that quoted the message would double its backslashes in every task that unwraps the error of another.
impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return write!(f, "TaskError({self})");
        }
        f.debug_struct("TaskError")
            .field("cause", &self.0.cause)
            .field("task", &self.0.task)
            .field("attempt", &self.0.attempt)
            .field("argument", &self.0.argument)
            .field("stdout", &String::from_utf8_lossy(self.stdout()))
            .field("stderr", &String::from_utf8_lossy(self.stderr()))
            .field("suppressed", &self.0.suppressed)
            .finish()
    }
}

impl Error for TaskError {}

/// For functions that do I/O, so that `task.join()??` does: of the kind [`TimedOut`](io::ErrorKind::TimedOut) if the
/// time was up, else [`Other`](io::ErrorKind::Other), with the error inside.
///
/// ```
/// use std::io;
/// use trine::{TaskError, coroutine};
///
/// fn hosts() -> io::Result<String> {
///     coroutine::spawn(|| trine::fs::read_to_string("/etc/hosts")).join()?
/// }
///
/// # hosts()?;
/// let error = io::Error::from(coroutine::spawn(|| panic!("no hosts")).join().unwrap_err());
/// assert!(error.downcast::<TaskError>().is_ok_and(|error| error.is_panic()));
/// # Ok::<(), io::Error>(())
/// ```
impl From<TaskError> for io::Error {
    fn from(error: TaskError) -> io::Error {
        let timeout = error.is_timeout();
        let kind = if timeout { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
        io::Error::new(kind, error)
    }
}
