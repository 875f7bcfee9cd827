//! What comes to a dispatcher, and what is left to do for it when its lock is given back.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Waker;

use super::dispatcher::Dispatcher;
use crate::process::service::Service;
use crate::process::task::job::Job;
use crate::process::task::record::Answer;
use crate::process::wire::Head;
use crate::task::{Cause, TaskError};

/// What is left to do when the lock is given back.
#[must_use]
#[derive(Default)]
pub(in crate::process) struct Deferred {
    pub(in crate::process) forks: usize,
    pub(in crate::process) failed: Vec<(Job, Cause)>,
    pub(in crate::process) wake: Option<Waker>,
    /// A closed dispatcher needs fewer workers than before.
    pub(in crate::process) leaving: bool,
}

/// An answer of a worker, as it came.
pub(in crate::process) struct Received<'a> {
    pub(in crate::process) head: Head,
    pub(in crate::process) body: &'a [u8],
    pub(in crate::process) descriptors: Vec<OwnedFd>,
}

/// A task, and what it ends with.
pub(in crate::process) type End = (Job, Result<Answer, TaskError>);

/// Tasks that have come to their end, to be told when the lock is given back.
#[must_use]
#[derive(Default)]
pub(in crate::process) struct Ended {
    pub(in crate::process) ends: Vec<End>,
    /// Workers to ask for, in place of one that has done its share.
    pub(in crate::process) forks: usize,
}

impl Ended {
    pub(in crate::process) fn settle(self, dispatcher: &Arc<Dispatcher>, service: &Service) {
        service.ask_for_forks(dispatcher, self.forks);
        for (job, result) in self.ends {
            job.settle(result);
        }
    }
}

impl Deferred {
    pub(in crate::process) fn carry_out(self, dispatcher: &Arc<Dispatcher>, service: &Service) {
        service.ask_for_forks(dispatcher, self.forks);
        if self.leaving {
            service.retire(dispatcher);
        }
        for (job, cause) in self.failed {
            job.fail(cause);
        }
        if let Some(waker) = self.wake {
            waker.wake();
        }
    }
}
