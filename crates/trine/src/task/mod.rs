//! The task: one handle, one outcome, one error for coroutines, threads and processes.
//!
//! [`Task`] and [`TaskError`] are at the root of the crate. This module looks at tasks from
//! outside: all that live ([`list`]), and the calling one ([`current`]).
//!
//! ```
//! use trine::{coroutine, task, time};
//!
//! let sleeper = coroutine::Builder::new().name("sleeper").spawn(|| {
//!     time::sleep(std::time::Duration::MAX)
//! });
//! assert!(task::list().iter().any(|info| info.name.as_deref() == Some("sleeper")));
//! assert_eq!(coroutine::spawn(task::current).join()?.unwrap().kind, trine::Kind::Coroutine);
//! # sleeper.cancel();
//! # Ok::<(), trine::TaskError>(())
//! ```

// | file | contents |
// |---|---|
// | `handle/` | `Task`, `Canceller`, and their contract with the kind that runs the task |
// | `job.rs` | a function that waits to be run, and its task |
// | `outcome.rs` | the cell in which a result waits for its joiner |
// | `cancel/` | `cancelled`, `shield`, deadlines, scopes |
// | `wait.rs` | waits that cancellation and deadlines end |
// | `spin.rs` | spinning for a moment before a sleep |
// | `budget.rs` | turns for others, in loops that never wait |
// | `park.rs`, `thread_parker.rs` | waiting, for coroutines and threads alike |
// | `wakers.rs` | calls of wakers of any origin, which may panic |
// | `failure.rs` | panics: the frame that catches them, and the error |
// | `interrupt/` | `Interrupted`, and its way up the stack |
// | `registry.rs`, `slot.rs` | the live tasks of this process, and the record of each |
// | `error/` | `TaskError` and its parts |
// | `info/` | `TaskInfo` and its parts; `list`, `current`, the progress of tasks |
//
// `park` knows nothing of cancellation: `slot` < `registry` < `unwind` < `park` < `wait` <
// `cancel`. A file uses only files below it in this table, but for the two of `info/` that look
// into the registry.

pub(crate) mod budget;
pub(crate) mod cancel;
mod error;
pub(crate) mod failure;
mod handle;
pub(crate) mod info;
mod interrupt;
pub(crate) mod job;
pub(crate) mod outcome;
pub(crate) mod park;
pub(crate) mod registry;
pub(crate) mod slot;
pub(crate) mod spin;
mod thread_parker;
pub(crate) mod wait;
mod wakers;

pub use error::{Backtrace, Cause, CodecStage, Limit, SourceLocation, TaskError};
pub(crate) use error::{Printed, bytes};
pub(crate) use handle::{Backend, Core};
pub use handle::{Canceller, Task};
pub use info::live::{current, enter_and_leave_registry, list};
pub use info::{Kind, State, TaskId, TaskInfo, UnknownKind};
pub(crate) use interrupt::Interrupt;
pub use interrupt::Interrupted;
pub(crate) use interrupt::unwind;
