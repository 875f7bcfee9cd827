//! What comes to a crew, and what is left to do for it when its lock is given back.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Waker;

use super::crew::Crew;
use super::job::Job;
use super::record::Answer;
use super::service::Service;
use super::wire::Head;
use crate::task::{Cause, TaskError};

/// What is left to do when the lock is given back.
#[must_use]
#[derive(Default)]
pub(super) struct Todo {
    pub(super) forks: usize,
    pub(super) failed: Vec<(Job, Cause)>,
    pub(super) wake: Option<Waker>,
    /// A closed crew needs fewer workers than before.
    pub(super) leaving: bool,
}

/// An answer of a worker, as it came.
pub(super) struct Received<'a> {
    pub(super) head: Head,
    pub(super) body: &'a [u8],
    pub(super) descriptors: Vec<OwnedFd>,
}

/// A task, and what it ends with.
pub(super) type End = (Job, Result<Answer, TaskError>);

/// Tasks that have come to their end, to be told when the lock is given back.
#[must_use]
#[derive(Default)]
pub(super) struct Ended {
    pub(super) ends: Vec<End>,
    /// Workers to ask for, in place of one that has done its share.
    pub(super) forks: usize,
}

impl Ended {
    pub(super) fn settle(self, crew: &Arc<Crew>, service: &Service) {
        service.ask_for_forks(crew, self.forks);
        for (job, result) in self.ends {
            job.settle(result);
        }
    }
}

impl Todo {
    pub(super) fn carry_out(self, crew: &Arc<Crew>, service: &Service) {
        service.ask_for_forks(crew, self.forks);
        if self.leaving {
            service.see_off(crew);
        }
        for (job, cause) in self.failed {
            job.fail(cause);
        }
        if let Some(waker) = self.wake {
            waker.wake();
        }
    }
}
