//! How a dispatcher deals with its tasks and workers: what of a pool's settings stays in the master.
//!
//! What is different in the workers themselves is a [`Setup`](crate::process::worker::setup::Setup).

use std::sync::Arc;
use std::time::Duration;

use crate::process::service::spec::TemplateSpec;

/// How long a worker may go on with a task that was asked to end: long enough to put things in
/// order, short enough for somebody who waits for a whole scope to end.
const GRACE: Duration = Duration::from_secs(2);

/// How long the pause before the first retry is: a crash that comes of a moment's shortage may be over then.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The pauses double up to this, or stay at the first if that is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How many workers a dispatcher has, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// So many workers, kept for the next task.
    Kept(usize),
    /// A fresh worker for each task, at most so many at one time.
    Fresh(usize),
}

/// The settings of a dispatcher.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) plan: Plan,
    /// What its workers are forked from.
    pub(super) spec: Arc<TemplateSpec>,
    /// How long a worker may go on with a task that was asked to end.
    pub(super) grace: Duration,
    /// Why no worker can be as it was wanted.
    pub(super) unfit: Option<String>,
    /// What workers print is captured: each has one task at a time, so that it is known whose it is.
    pub(super) captures: bool,
    /// How often a task whose worker has crashed under it runs again.
    pub(super) retries: u32,
    /// How long such a task waits the first time.
    pub(super) pause: Duration,
    /// How long a worker may take to be ready.
    pub(super) start: Option<Duration>,
    /// How long a task may run.
    pub(super) limit: Option<Duration>,
    /// After how many tasks a worker is replaced.
    pub(super) tasks_per_worker: u64,
    /// After how long a worker without a task ends; workers are then forked as they are needed.
    pub(super) idle: Option<Duration>,
    /// So many workers stay, also without a task.
    pub(super) fewest: usize,
    /// How many tasks there may be beyond one for each worker.
    pub(super) queue: Option<usize>,
}

impl Policy {
    /// Nothing but the plan is set.
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
            tasks_per_worker: u64::MAX,
            idle: None,
            fewest: 0,
            queue: None,
        }
    }

    pub(super) fn is_fresh(&self) -> bool {
        matches!(self.plan, Plan::Fresh(_))
    }

    /// Most workers at one time.
    pub(super) fn most(&self) -> usize {
        let (Plan::Kept(most) | Plan::Fresh(most)) = self.plan;
        most
    }

    /// How long a task waits before it runs for the time `attempt`, from 2.
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
