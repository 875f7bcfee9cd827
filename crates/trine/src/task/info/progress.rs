//! The progress that tasks report.

use std::sync::OnceLock;

use super::Kind;
use crate::task::registry;

/// Publishes the progress of a task to the process that spawned it: the task's number there, and
/// the progress.
type Publish = fn(task: u64, progress: f64);

static PUBLISH: OnceLock<Publish> = OnceLock::new();

/// Sets the function that publishes the progress of this process's tasks to their spawner.
pub(crate) fn publish_by(publish: Publish) {
    PUBLISH.get_or_init(|| publish);
}

/// Reports the progress of the calling task, for [`Task::progress`](crate::Task::progress).
///
/// It works in tasks of all kinds and costs no message: a process task stores the number in memory
/// shared with its spawner. The program chooses the meaning of the number; mostly it is the part of
/// the work that is done, from 0 to 1. Outside any task the call does nothing.
///
/// ```
/// use trine::process;
///
/// let task = process::spawn(4_u32, |steps| {
///     for step in 0..steps {
///         // … a part of the work …
///         trine::progress(f64::from(step + 1) / f64::from(steps));
///     }
/// });
/// while !task.is_finished() {
///     if let Some(done) = task.progress() {
///         println!("{:.0} %", 100.0 * done);
///     }
///     std::thread::yield_now();
/// }
/// assert_eq!(task.progress(), Some(1.0));
/// task.join()?;
/// # Ok::<(), trine::TaskError>(())
/// ```
pub fn progress(progress: f64) {
    let Some(slot) = registry::current() else { return };
    slot.set_progress(progress);
    if let (Some(publish), true) = (PUBLISH.get(), slot.kind() == Kind::Process) {
        publish(slot.raw_id(), progress);
    }
}
