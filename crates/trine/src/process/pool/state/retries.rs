//! The tasks of a pool that wait for the moment of their next run.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use crate::process::task::job::Job;
use crate::process::task::record::Record;

#[derive(Default)]
pub(super) struct Retries {
    /// The tasks, by number.
    jobs: HashMap<u64, (Option<Instant>, Job)>,
    /// The moments with the tasks' numbers. A moment beyond the clock's range is missing.
    moments: BTreeSet<(Instant, u64)>,
}

impl Retries {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn put(&mut self, at: Option<Instant>, job: Job) {
        self.moments.extend(at.map(|at| (at, job.id())));
        self.jobs.insert(job.id(), (at, job));
    }

    /// Takes a task out, if it waits here.
    pub(super) fn take(&mut self, task: &Record) -> Option<Job> {
        let (at, job) = self.jobs.remove(&task.id())?;
        at.map(|at| self.moments.remove(&(at, task.id())));
        Some(job)
    }

    /// Returns the moment of the next run.
    pub(super) fn first(&self) -> Option<Instant> {
        self.moments.first().map(|(at, _)| *at)
    }

    /// Takes a task whose moment has come.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Job> {
        let (_, task) = *self.moments.first().filter(|(at, _)| *at <= now)?;
        self.moments.pop_first();
        self.jobs.remove(&task).map(|(_, job)| job)
    }

    /// Takes all tasks out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Job> {
        std::mem::take(self).jobs.into_values().map(|(_, job)| job)
    }
}
