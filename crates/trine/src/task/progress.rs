//! How far a task says that it has come.

use std::sync::OnceLock;

use super::info::Kind;
use super::registry;

/// Tells the progress of a task of another process there: its number, and how far it has come.
type Publish = fn(task: u64, progress: f64);

static PUBLISH: OnceLock<Publish> = OnceLock::new();

/// Has the progress of this process's tasks of another process told by `publish`.
pub(crate) fn publish_by(publish: Publish) {
    PUBLISH.get_or_init(|| publish);
}

/// Says how far the calling task has come, for [`Task::progress`](crate::Task::progress).
///
/// Works in tasks of all kinds, and costs no message: a task of another process leaves the number in memory that it
/// shares with this one. What the number means is for the program to say; mostly it is the part of the work that is
/// done, from 0 to 1. Outside any task the call does nothing.
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
