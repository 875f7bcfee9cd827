//! What a task is called, which way it runs and where it is in its life.

use std::error::Error;
use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;
use std::str::FromStr;
use std::sync::Arc;

/// Which of the three ways a task runs.
///
/// As a value it chooses for a whole batch; see [`Executor`](crate::Executor).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Its own stack, switched in user space, many on one thread.
    Coroutine,
    /// A kernel thread of this process.
    Thread,
    /// A process of its own.
    Process,
}

impl Kind {
    /// All three, in the order of their isolation.
    pub const ALL: [Kind; 3] = [Kind::Coroutine, Kind::Thread, Kind::Process];

    pub(super) const fn to_raw(self) -> u32 {
        self as u32
    }

    pub(super) const fn from_raw(raw: u32) -> Kind {
        match raw {
            0 => Kind::Coroutine,
            1 => Kind::Thread,
            _ => Kind::Process,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Coroutine => "coroutine",
            Kind::Thread => "thread",
            Kind::Process => "process",
        })
    }
}

/// The name of a kind, as [`Display`](fmt::Display) shows it; for a program's own settings.
///
/// ```
/// use trine::Kind;
///
/// assert_eq!("process".parse(), Ok(Kind::Process));
/// assert!("fiber".parse::<Kind>().is_err());
/// ```
impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Kind, UnknownKind> {
        match name {
            "coroutine" => Ok(Kind::Coroutine),
            "thread" => Ok(Kind::Thread),
            "process" => Ok(Kind::Process),
            _ => Err(UnknownKind(())),
        }
    }
}

/// A text names no [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKind(());

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a kind of task: it takes `coroutine`, `thread` or `process`")
    }
}

impl Error for UnknownKind {}

/// A number that names one task of this process for as long as the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(NonZeroU64);

impl TaskId {
    pub(super) const fn from_raw(raw: u64) -> Option<TaskId> {
        match NonZeroU64::new(raw) {
            Some(id) => Some(TaskId(id)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Spawned; its function was not called yet.
    New,
    /// Could run, and waits for its turn on a core.
    Ready,
    /// On a core. Of a thread or process: the kernel has it on a core or in its run queue.
    Running,
    /// Waits for something: a timer, another task, input.
    Waiting,
    /// Its function has returned, panicked or died.
    Terminated,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::New => "new",
            State::Ready => "ready",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Terminated => "terminated",
        })
    }
}

/// What is known of a task at one moment; see [`list`](super::list).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its number.
    pub id: TaskId,
    /// The name given to its builder.
    pub name: Option<Arc<str>>,
    /// Which way it runs.
    pub kind: Kind,
    /// Where it was in its life.
    pub state: State,
    /// The task that spawned it.
    pub parent: Option<TaskId>,
    /// Where in the source it was spawned.
    pub location: &'static Location<'static>,
}

impl fmt::Display for TaskInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(name) = &self.name {
            write!(f, "`{name}` ")?;
        }
        write!(f, "{} (spawned at {})", self.id, self.location)
    }
}
