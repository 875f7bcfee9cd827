//! The coroutines that have held their carrier for long, for the program.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::task::TaskInfo;

/// The number of tasks that [`hogs`] remembers.
const REMEMBERED: usize = 64;

/// The coroutines that have held their carrier for over 10 ms without a wait or a yield; see
/// [`hogs`].
///
/// ```
/// let hogs = trine::coroutine::hogs();
/// assert!(hogs.recent.len() <= 64);
/// assert!(hogs.count >= hogs.recent.len() as u64);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Hogs {
    /// The number of times that a coroutine has done so, since the program started.
    pub count: u64,
    /// The last 64 tasks that did, the latest last.
    pub recent: Vec<Hog>,
}

/// A coroutine that has held its carrier for over 10 ms; see [`hogs`].
///
/// ```
/// let hogs = trine::coroutine::hogs();
/// if let Some(worst) = hogs.recent.iter().max_by_key(|hog| hog.longest) {
///     println!("{}: {} times, for up to {:?}", worst.task, worst.times, worst.longest);
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hog {
    /// The task, as the monitor found it.
    pub task: TaskInfo,
    /// The number of times that it has done so.
    pub times: u64,
    /// The longest of these times, as far as the monitor watched.
    pub longest: Duration,
}

struct Record {
    count: u64,
    recent: VecDeque<Hog>,
}

static RECORD: Mutex<Record> = Mutex::new(Record { count: 0, recent: VecDeque::new() });

/// Locks the record. No code that can panic runs under this lock.
fn record() -> MutexGuard<'static, Record> {
    RECORD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that `task` has held its carrier for `held`: once more if `again`, else still.
pub(super) fn remember(task: &TaskInfo, held: Duration, again: bool) {
    let mut record = record();
    record.count += u64::from(again);
    let known = record.recent.iter().position(|hog| hog.task.id == task.id);
    let mut hog = known.and_then(|at| record.recent.remove(at)).unwrap_or_else(|| Hog {
        task: task.clone(),
        times: 0,
        longest: Duration::ZERO,
    });
    hog.times += u64::from(again);
    hog.longest = hog.longest.max(held);
    if record.recent.len() == REMEMBERED {
        record.recent.pop_front();
    }
    record.recent.push_back(hog);
}

/// Returns the coroutines that have held their carrier for over 10 ms without a wait or a yield, so
/// that the others there had to wait.
///
/// Such a coroutine computes, or it blocks its thread. Such code belongs on a
/// [thread](crate::thread), or yields now and then.
///
/// Counted as long as the program runs. A hold is noticed after 10 to 20 ms; a shorter hold may be
/// missed. The monitor also reports holds on standard error, as [`HogWatch`](crate::HogWatch) says.
///
/// ```
/// for hog in trine::coroutine::hogs().recent {
///     eprintln!("{} has held its carrier for {:?}", hog.task, hog.longest);
/// }
/// ```
pub fn hogs() -> Hogs {
    let record = record();
    Hogs { count: record.count, recent: record.recent.iter().cloned().collect() }
}
