//! The settings of a pool that stay in the master.
//!
//! The settings that change the workers themselves are a
//! [`Setup`](crate::process::worker::setup::Setup).

use std::sync::Arc;
use std::time::Duration;

use crate::process::capsule::store::Store;
use crate::process::service::spec::TemplateSpec;
use crate::process::task::value::MAX_RESULT;

/// The time that a worker may go on with a task that was asked to end: long enough to clean up,
/// short enough for a caller that waits for a whole scope to end.
const GRACE: Duration = Duration::from_secs(2);

/// The pause before the first retry: a momentary shortage that caused the crash may be over then.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause. Pauses double up to this, or stay at the first if that is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The number of workers, and their lifetime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// This many workers, kept for the next task.
    Kept(usize),
    /// A fresh worker for each task, at most this many at one time.
    Fresh(usize),
}

/// The settings of a dispatcher.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) plan: Plan,
    /// The template that the workers are forked from.
    pub(super) spec: Arc<TemplateSpec>,
    /// The time that a worker may go on with a task that was asked to end.
    pub(super) grace: Duration,
    /// The reason why no worker can have the settings that were chosen.
    pub(super) unfit: Option<String>,
    /// True if output is captured. Then each worker has one task at a time, the one that printed
    /// it.
    pub(super) captures: bool,
    /// The number of times that a task runs again after its worker has crashed under it.
    pub(super) retries: u32,
    /// The pause before its first retry.
    pub(super) pause: Duration,
    /// The time that a worker may take to be ready.
    pub(super) start: Option<Duration>,
    /// The time that a task may run.
    pub(super) limit: Option<Duration>,
    /// The most bytes of a result.
    pub(super) max_result: u64,
    /// The number of tasks after which a worker is replaced.
    pub(super) tasks_per_worker: u64,
    /// The time after which an idle worker is dismissed; workers are then forked as tasks need
    /// them.
    pub(super) idle: Option<Duration>,
    /// The number of workers that stay although they are idle.
    pub(super) fewest: usize,
    /// The number of tasks that may be submitted beyond one for each worker.
    pub(super) queue: Option<usize>,
    /// Keeps the capsules of failed tasks.
    pub(super) capsules: Option<Arc<Store>>,
}

impl Policy {
    /// Returns the default settings with this plan.
    pub(super) fn new(plan: Plan) -> Policy {
        Policy {
            plan,
            spec: Arc::default(),
            grace: GRACE,
            unfit: None,
            captures: false,
            retries: 0,
            pause: FIRST_PAUSE,
            start: None,
            limit: None,
            max_result: MAX_RESULT,
            tasks_per_worker: u64::MAX,
            idle: None,
            fewest: 0,
            queue: None,
            capsules: None,
        }
    }

    /// Returns true if each task gets a fresh worker.
    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.plan, Plan::Fresh(_))
    }

    /// Returns the most workers at one time.
    pub(super) fn most(&self) -> usize {
        let (Plan::Kept(most) | Plan::Fresh(most)) = self.plan;
        most
    }

    /// Returns the pause before run number `attempt` of a task, from 2.
    pub(super) fn pause_before(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(2).min(31);
        self.pause.saturating_mul(1 << doublings).min(LONGEST_PAUSE.max(self.pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        let mut policy = Policy::new(Plan::Kept(1));
        let pauses = |policy: &Policy| [2, 3, 4, 40, u32::MAX].map(|n| policy.pause_before(n));
        let ms = Duration::from_millis;
        assert_eq!(pauses(&policy), [ms(10), ms(20), ms(40), ms(1000), ms(1000)]);
        policy.pause = ms(3000);
        assert_eq!(pauses(&policy), [ms(3000); 5]);
        policy.pause = Duration::MAX;
        assert_eq!(pauses(&policy), [Duration::MAX; 5]);
        policy.pause = Duration::ZERO;
        assert_eq!(pauses(&policy), [Duration::ZERO; 5]);
    }
}
