//! A reply as it reaches the dispatcher, and the work that the dispatcher leaves until it has given
//! its lock back.

use std::task::Waker;

use crate::process::task::job::Job;
use crate::process::task::record::Answer;
use crate::process::wire::Head;
use crate::sys::io::arrived::Arrived;
use crate::task::{Cause, TaskError};

/// A reply of a worker.
pub(super) struct Received<'a> {
    pub(super) head: Head,
    pub(super) body: &'a [u8],
    pub(super) descriptors: Arrived,
}

/// A task, and the result that it ends with.
pub(super) type End = (Job, Result<Answer, TaskError>);

/// The work left by replies.
#[must_use]
#[derive(Default)]
pub(super) struct Ended {
    pub(super) ends: Vec<End>,
    /// The forks to request, in place of a worker that has run its share of tasks.
    pub(super) forks: usize,
}

/// The work left by anything else.
#[must_use]
#[derive(Default)]
pub(super) struct Deferred {
    /// The forks to request.
    pub(super) forks: usize,
    pub(super) failed: Vec<(Job, Cause)>,
    pub(super) wake: Option<Waker>,
    /// True if a closed pool needs fewer workers than before.
    pub(super) retires: bool,
}
