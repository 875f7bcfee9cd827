//! The one error of tasks, for every kind and every way to end.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | [`TaskError`] |
//! | `cause.rs` | [`Cause`], [`CodecStage`], [`SourceLocation`] |
//! | `backtrace.rs` | [`Backtrace`]: cheap to capture, able to cross to another process |
//! | `limit.rs` | [`Limit`] |
//! | `printed.rs` | the end of a task's output |

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::info::TaskInfo;

mod backtrace;
mod cause;
mod limit;
mod printed;

pub use backtrace::Backtrace;
pub use cause::{Cause, CodecStage, SourceLocation};
pub use limit::Limit;
pub(crate) use limit::bytes;
pub(crate) use printed::Printed;

/// The error of a task that has no value: the cause, and the task that it happened to.
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
    /// The number of the run, and of runs that the task may have.
    attempt: (u32, u32),
    argument: Option<usize>,
    payload: Payload,
    printed: Option<Arc<Printed>>,
    capsule: Option<Arc<OnceLock<PathBuf>>>,
    suppressed: Vec<TaskError>,
}

/// A panic's payload, kept so that the joiner can resume the panic; clones of the error share it.
/// The lock makes the error `Sync`: a payload is `Send` and need not be more.
type Payload = Option<Arc<Mutex<Option<Box<dyn Any + Send>>>>>;

impl TaskError {
    pub(crate) fn new(cause: Cause, task: Option<TaskInfo>) -> TaskError {
        TaskError(Box::new(Inner {
            cause,
            task,
            attempt: (1, 1),
            argument: None,
            payload: None,
            printed: None,
            capsule: None,
            suppressed: Vec::new(),
        }))
    }

    pub(crate) fn with_printed(mut self, printed: Option<Printed>) -> TaskError {
        self.0.printed = printed.map(Arc::new);
        self
    }

    /// Adds the cell in which the path of the task's capsule will be.
    pub(crate) fn with_capsule(mut self, path: Option<Arc<OnceLock<PathBuf>>>) -> TaskError {
        self.0.capsule = path;
        self
    }

    /// Adds the number of the run, of `most` that the task may have.
    pub(crate) fn with_attempt(mut self, attempt: u32, most: u32) -> TaskError {
        self.0.attempt = (attempt, most);
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

    /// Returns the cause.
    ///
    /// ```
    /// let error = trine::thread::spawn(|| panic!("no luck")).join().unwrap_err();
    /// let trine::Cause::Panicked { message, .. } = error.cause() else { panic!("{error}") };
    /// assert_eq!(message, "no luck");
    /// ```
    pub fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// Returns the task that the error happened to.
    ///
    /// ```
    /// let task = trine::thread::spawn(|| panic!("no luck"));
    /// let id = task.id();
    /// assert_eq!(task.join().unwrap_err().task().unwrap().id, id);
    /// ```
    pub fn task(&self) -> Option<&TaskInfo> {
        self.0.task.as_ref()
    }

    /// Returns the number of the run in which the error happened, from 1. It is more than 1 only
    /// in a pool with [retries](crate::process::PoolBuilder::retries).
    ///
    /// ```
    /// let pool = trine::process::Pool::builder().workers(1).retries(2).build();
    /// let error = pool.spawn((), |()| -> () { std::process::abort() }).join().unwrap_err();
    /// assert_eq!(error.attempt(), 3);
    /// assert!(error.to_string().ends_with("; attempt 3 of 3"));
    /// ```
    pub fn attempt(&self) -> u32 {
        self.0.attempt.0
    }

    /// Returns the index of the task's argument, from 0, if the task belongs to a
    /// [map](crate::Executor::map).
    ///
    /// ```
    /// use trine::{Executor, Kind};
    ///
    /// let words = ["3", "1o", "5"].map(String::from);
    /// let numbers = Kind::Thread.map(words.clone(), |word: String| word.parse::<u32>().unwrap());
    /// let errors: Vec<_> = numbers.unordered().filter_map(Result::err).collect();
    /// assert_eq!(words[errors[0].argument().unwrap()], "1o");
    /// ```
    pub fn argument(&self) -> Option<usize> {
        self.0.argument
    }

    /// Returns the end of the task's standard output, at most 8 KiB; empty if that was not
    /// [captured](crate::process::Builder::capture_output). It need not be UTF-8.
    ///
    /// ```
    /// let task = trine::process::Builder::new().capture_output().spawn((), |()| -> () {
    ///     println!("step 1");
    ///     std::process::abort()
    /// });
    /// assert_eq!(task.join().unwrap_err().stdout(), b"step 1\n");
    /// ```
    pub fn stdout(&self) -> &[u8] {
        self.0.printed.as_ref().map_or(&[], |printed| &printed.stdout)
    }

    /// Returns the end of the task's standard error; see [`stdout`](Self::stdout).
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

    /// Returns the file with which `trine replay` runs the failed task again; `None` if its pool
    /// keeps no [capsules](crate::process::PoolBuilder::capsules), or could not write this one.
    ///
    /// ```
    /// # let directory = format!("trine-doc-error-{}", std::process::id());
    /// # let directory = std::env::temp_dir().join(directory);
    /// let pool = trine::process::Pool::builder().workers(1).capsules(&directory).build();
    /// let error = pool.spawn(7, |n: u32| -> u32 { panic!("no {n}") }).join().unwrap_err();
    /// println!("trine replay {}", error.capsule().unwrap().display());
    /// # std::fs::remove_dir_all(directory).unwrap();
    /// ```
    pub fn capsule(&self) -> Option<&Path> {
        self.0.capsule.as_ref()?.get().map(PathBuf::as_path)
    }

    /// Returns the last line on standard error of a process that could not report by itself.
    fn last_line(&self) -> Option<String> {
        let is_mute = matches!(
            self.0.cause,
            Cause::Exited { .. } | Cause::Signaled { .. } | Cause::Lost { .. } | Cause::TimedOut
        );
        self.0.printed.as_ref().filter(|_| is_mute)?.last_line()
    }

    /// Returns the failures that came after this one in the same [`scope`](crate::scope()) or
    /// [`race`](crate::race).
    ///
    /// ```
    /// use trine::thread;
    ///
    /// let tasks = [thread::spawn(|| panic!("one")), thread::spawn(|| panic!("two"))];
    /// let error = trine::race::<()>(tasks).unwrap_err();
    /// assert_eq!(error.suppressed().len(), 1);
    /// ```
    pub fn suppressed(&self) -> &[TaskError] {
        &self.0.suppressed
    }

    /// Returns true if the task's function panicked.
    ///
    /// ```
    /// let task = trine::coroutine::spawn(|| panic!("no luck"));
    /// assert!(task.join().unwrap_err().is_panic());
    /// ```
    pub fn is_panic(&self) -> bool {
        matches!(self.0.cause, Cause::Panicked { .. })
    }

    /// Returns true if the task was cancelled, or if the joining task was: then
    /// [`task`](TaskError::task) names the joiner.
    ///
    /// ```
    /// use trine::{coroutine, time};
    ///
    /// let task = coroutine::spawn(|| time::sleep(std::time::Duration::MAX));
    /// task.cancel();
    /// assert!(task.join().unwrap_err().is_cancelled());
    /// ```
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0.cause, Cause::Cancelled { .. })
    }

    /// Returns true if the task's time was up.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trine::process::Pool;
    ///
    /// let pool = Pool::builder().workers(1).timeout(Duration::from_millis(5)).build();
    /// let task = pool.spawn((), |()| trine::time::sleep(Duration::MAX));
    /// assert!(task.join().unwrap_err().is_timeout());
    /// ```
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.cause, Cause::TimedOut)
    }

    /// Returns true if the task's process died under it: by a signal, by `exit`, by a stack
    /// overflow, or for an unknown reason.
    ///
    /// ```
    /// let task = trine::process::spawn((), |()| -> () { std::process::abort() });
    /// assert!(task.join().unwrap_err().is_crash());
    /// ```
    pub fn is_crash(&self) -> bool {
        self.0.cause.is_crash()
    }

    /// Returns true if the task's process died because memory had run out; false where that is not
    /// known.
    ///
    /// ```
    /// use trine::process::Builder;
    ///
    /// let task = Builder::new()
    ///     .memory_limit(64 << 20)
    ///     .spawn((), |()| std::hint::black_box(vec![1_u8; 256 << 20]).len());
    /// assert!(task.join().unwrap_err().is_out_of_memory());
    /// ```
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self.0.cause, Cause::Signaled { out_of_memory: true, .. })
    }

    /// Returns true if the task never ran, because a limit was met.
    ///
    /// ```
    /// use trine::process::Builder;
    ///
    /// let task = Builder::new().current_dir("/no/such/directory").spawn((), |()| ());
    /// assert!(task.join().unwrap_err().is_not_spawned());
    /// ```
    pub fn is_not_spawned(&self) -> bool {
        matches!(self.0.cause, Cause::NotSpawned { .. })
    }

    /// Returns the panic's payload, to resume the panic by [`std::panic::resume_unwind`].
    ///
    /// The payload of a panic in another process is its message, as a `String`; so is that of a
    /// clone of an error whose payload was taken.
    ///
    /// ```
    /// let error = trine::thread::spawn(|| std::panic::panic_any(7_u32)).join().unwrap_err();
    /// let payload = error.into_panic()?;
    /// assert_eq!(payload.downcast_ref::<u32>(), Some(&7));
    /// # Ok::<(), trine::TaskError>(())
    /// ```
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
            0 => {}
            1 => f.write_str(" (and one more failure)")?,
            more => write!(f, " (and {more} more failures)")?,
        }
        match self.0.attempt {
            (0..=1, _) => Ok(()),
            (attempt, most) => write!(f, "; attempt {attempt} of {most}"),
        }
    }
}

/// Shows the text of [`Display`](fmt::Display), for `unwrap` and `main`; with `{:#?}` all parts.
/// Quoting the message would double its backslashes in every task that unwraps the error of
/// another.
impl fmt::Debug for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return write!(f, "TaskError({self})");
        }
        f.debug_struct("TaskError")
            .field("cause", &self.0.cause)
            .field("task", &self.0.task)
            .field("attempt", &self.attempt())
            .field("argument", &self.0.argument)
            .field("stdout", &String::from_utf8_lossy(self.stdout()))
            .field("stderr", &String::from_utf8_lossy(self.stderr()))
            .field("capsule", &self.capsule())
            .field("suppressed", &self.0.suppressed)
            .finish()
    }
}

impl Error for TaskError {}

/// Wraps the error, so that functions that do I/O can write `task.join()??`. The kind is
/// [`TimedOut`](io::ErrorKind::TimedOut) if the time was up, else [`Other`](io::ErrorKind::Other).
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
