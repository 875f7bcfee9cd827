//! How a crew deals with its tasks and workers: what of a pool's settings stays in the master.
//!
//! What is different in the workers themselves is a [`Setup`](super::setup::Setup).

use std::sync::Arc;
use std::time::Duration;

use super::lineage::Origin;

/// How long a worker may go on with a task that was asked to end: long enough to put things in
/// order, short enough for somebody who waits for a whole scope to end.
const GRACE: Duration = Duration::from_secs(2);

/// How many workers a crew has, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// So many workers, kept for the next task.
    Kept(usize),
    /// A fresh worker for each task, at most so many at one time.
    Fresh(usize),
}

/// The settings of a crew.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) plan: Plan,
    /// What its workers are forked from.
    pub(super) origin: Arc<Origin>,
    /// How long a worker may go on with a task that was asked to end.
    pub(super) grace: Duration,
}

impl Policy {
    /// Nothing but the plan is set.
    pub(super) fn new(plan: Plan) -> Policy {
        Policy { plan, origin: Arc::default(), grace: GRACE }
    }
}
