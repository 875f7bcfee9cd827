//! The live tasks, as programs see them.

use std::panic::Location;
use std::sync::Arc;

use super::{Kind, TaskInfo};
use crate::task::registry;
use crate::task::slot::Slot;

/// Returns all live tasks of this process, spawned and not yet terminated, in no particular order.
///
/// ```
/// let task = trine::thread::Builder::new().name("crunch").spawn(|| 2 + 2);
/// for info in trine::task::list() {
///     println!("{} {} {:?}", info.id, info.state, info.name);
/// }
/// assert_eq!(task.join()?, 4);
/// # Ok::<(), trine::TaskError>(())
/// ```
pub fn list() -> Vec<TaskInfo> {
    registry::list()
}

/// Returns the calling task; `None` in `main` and in threads that trine did not start.
///
/// ```
/// let task = trine::coroutine::spawn(|| trine::task::current().map(|info| info.id));
/// let id = task.id();
/// assert_eq!(task.join()?, Some(id));
/// assert!(trine::task::current().is_none());
/// # Ok::<(), trine::TaskError>(())
/// ```
pub fn current() -> Option<TaskInfo> {
    registry::current().and_then(Slot::info)
}

/// Enters a task that does nothing in the registry and takes it out again: for `bench/`, which
/// measures what the registry costs.
#[doc(hidden)]
#[track_caller]
pub fn enter_and_leave_registry(name: Option<Arc<str>>) {
    drop(registry::Entry::new(Kind::Thread, name, Location::caller()));
}
