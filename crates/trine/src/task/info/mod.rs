//! The description of a task: its number, name, kind and state.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | [`TaskId`], [`Kind`], [`State`], [`TaskInfo`] |
//! | `live.rs` | the live tasks; above the registry, which uses `mod.rs` |
//! | `progress.rs` | the progress that tasks report; above the registry too |

use std::error::Error;
use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;
use std::str::FromStr;
use std::sync::Arc;

pub(super) mod live;
pub(crate) mod progress;

/// The three ways to run a task.
///
/// A kind is an [`Executor`](crate::Executor), so it chooses for a whole batch.
///
/// ```
/// use trine::{Executor, Kind};
///
/// let kind: Kind = "thread".parse()?; // from the program's own settings
/// let task = kind.spawn(6, |n: u32| n * 7);
/// assert_eq!(task.join()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A stack of its own, switched in user space, many on one thread.
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

/// Parses the name of a kind, which [`Display`](fmt::Display) shows; for a program's own settings.
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

/// The error of a text that names no [`Kind`].
///
/// ```
/// let error = "fiber".parse::<trine::Kind>().unwrap_err();
/// assert!(error.to_string().contains("`coroutine`, `thread` or `process`"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKind(());

impl fmt::Display for UnknownKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a kind of task: it takes `coroutine`, `thread` or `process`")
    }
}

impl Error for UnknownKind {}

/// The number of a task, unique among the tasks that this process has spawned, for as long as it
/// runs.
///
/// The task that a worker process runs has the number that its spawner knows it by there. The
/// worker numbers the tasks that it spawns itself from 1, so these may repeat that number.
///
/// ```
/// let (a, b) = (trine::thread::spawn(|| ()), trine::thread::spawn(|| ()));
/// assert_ne!(a.id(), b.id());
/// assert_eq!(a.id().to_string(), format!("#{}", a.id().get()));
/// # trine::join_all([a, b]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(NonZeroU64);

impl TaskId {
    pub(super) const fn from_raw(raw: u64) -> Option<TaskId> {
        match NonZeroU64::new(raw) {
            Some(id) => Some(TaskId(id)),
            None => None,
        }
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The state of a task.
///
/// ```
/// use trine::{State, thread};
///
/// let task = thread::spawn(|| ());
/// while task.state() != State::Terminated {
///     std::thread::yield_now();
/// }
/// # task.join()?;
/// # Ok::<(), trine::TaskError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Spawned; the function was not called yet.
    New,
    /// Able to run, and waiting for its turn on a core.
    Ready,
    /// On a core. A thread or process may also be in the kernel's run queue.
    Running,
    /// Waiting, for a timer, another task or input.
    Waiting,
    /// Ended: the function has returned, panicked or died.
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

/// The description of a task at one moment; see [`list`](super::list).
///
/// ```
/// let task = trine::thread::Builder::new().name("crunch").spawn(trine::task::current);
/// let info = task.join()?.unwrap();
/// assert_eq!(info.name.as_deref(), Some("crunch"));
/// println!("{info}"); // thread `crunch` #1 (spawned at src/main.rs:1:12)
/// # Ok::<(), trine::TaskError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskInfo {
    /// The task's number.
    pub id: TaskId,
    /// The name given to the task's builder.
    pub name: Option<Arc<str>>,
    /// The way in which the task runs.
    pub kind: Kind,
    /// The task's state at that moment.
    pub state: State,
    /// The id of the process that runs a process task; `None` while no worker has it, and for
    /// other kinds.
    pub pid: Option<u32>,
    /// The kernel's id (`gettid`) of the thread that runs a thread task; `None` before it runs, and
    /// for other kinds.
    pub thread_id: Option<u32>,
    /// The task that spawned it.
    pub parent: Option<TaskId>,
    /// The place in the source where the task was spawned.
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
