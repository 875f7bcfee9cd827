//! The tasks of a dispatcher that wait for the moment at which they run again.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::process::task::job::Job;
use crate::process::task::record::Record;

#[derive(Default)]
pub(in crate::process) struct Delayed {
    jobs: HashMap<u64, (Option<Instant>, Job)>,
    /// With the tasks' numbers; one that no clock comes to is not here.
    moments: BTreeSet<(Instant, u64)>,
}

impl Delayed {
    pub(in crate::process) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(in crate::process) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(in crate::process) fn put(&mut self, at: Option<Instant>, job: Job) {
        self.moments.extend(at.map(|at| (at, job.id())));
        self.jobs.insert(job.id(), (at, job));
    }

    /// Takes a task out, if it is here.
    pub(in crate::process) fn take(&mut self, task: &Record) -> Option<Job> {
        let (at, job) = self.jobs.remove(&task.id())?;
        at.map(|at| self.moments.remove(&(at, task.id())));
        Some(job)
    }

    /// When the next one runs again.
    pub(in crate::process) fn first(&self) -> Option<Instant> {
        self.moments.first().map(|(at, _)| *at)
    }

    /// Takes one whose moment has come.
    pub(in crate::process) fn pop(&mut self, now: Instant) -> Option<Job> {
        let (_, task) = *self.moments.first().filter(|(at, _)| *at <= now)?;
        self.moments.pop_first();
        self.jobs.remove(&task).map(|(_, job)| job)
    }

    /// Takes all of them out.
    pub(in crate::process) fn drain(&mut self) -> impl Iterator<Item = Job> {
        std::mem::take(self).jobs.into_values().map(|(_, job)| job)
    }
}
