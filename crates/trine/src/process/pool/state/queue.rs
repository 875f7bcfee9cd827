//! The tasks of a pool that no worker has: first in, first out, and any of them at any time.
//!
//! ```text
//!   position  first      +1       +2       +3
//!             ├────────┬────────┬────────┬────────┐
//!             │ job    │ none   │ job    │ job    │   a task that is taken out leaves a hole
//! ```
//!
//! A task knows its position, so taking it out costs the same in a queue of any length.

use std::collections::VecDeque;

use crate::process::task::job::Job;
use crate::process::task::record::Record;

#[derive(Default)]
pub(super) struct Queue {
    /// The position of the first entry; counts in both directions, and wraps around.
    first: u64,
    /// The tasks and holes; the last entry is no hole.
    entries: VecDeque<Option<Job>>,
    len: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn push_back(&mut self, job: Job) {
        job.record().set_queue_position(self.first.wrapping_add(self.entries.len() as u64));
        self.entries.push_back(Some(job));
        self.len += 1;
    }

    /// Returns a task, which was taken out before, to the front.
    pub(super) fn push_front(&mut self, job: Job) {
        self.first = self.first.wrapping_sub(1);
        job.record().set_queue_position(self.first);
        self.entries.push_front(Some(job));
        self.len += 1;
    }

    pub(super) fn pop_front(&mut self) -> Option<Job> {
        while let Some(entry) = self.entries.pop_front() {
            self.first = self.first.wrapping_add(1);
            if entry.is_some() {
                self.len -= 1;
                return entry;
            }
        }
        None
    }

    /// Takes a task out, if it is queued.
    pub(super) fn take(&mut self, task: &Record) -> Option<Job> {
        let index = usize::try_from(task.queue_position().wrapping_sub(self.first)).ok()?;
        let job = self.entries.get_mut(index)?.take_if(|job| job.id() == task.id())?;
        self.len -= 1;
        while self.entries.back().is_some_and(Option::is_none) {
            self.entries.pop_back();
        }
        Some(job)
    }

    /// Takes all tasks out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Job> {
        std::mem::take(self).entries.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::Location;
    use std::sync::Arc;

    use super::*;
    use crate::task::Cause;

    fn job() -> (Arc<Record>, Job) {
        let record = Arc::new(Record::new(None, Location::caller()));
        // SAFETY: a new task, and the only job made of it.
        let job = unsafe { Job::new(record.clone()) };
        (record, job)
    }

    fn end(job: Job) {
        job.fail_unsubmitted(Cause::TimedOut);
    }

    #[test]
    fn any_task_can_be_taken_out_and_the_others_keep_their_order() {
        let mut queue = Queue::default();
        let (tasks, jobs): (Vec<_>, Vec<_>) = (0..6).map(|_| job()).unzip();
        jobs.into_iter().for_each(|job| queue.push_back(job));
        let first = queue.pop_front().unwrap();
        assert!(queue.take(&tasks[0]).is_none(), "it is not here");
        queue.push_front(first);
        for out in [2, 5, 3] {
            let job = queue.take(&tasks[out]).unwrap();
            assert_eq!(job.id(), tasks[out].id());
            end(job);
            assert!(queue.take(&tasks[out]).is_none(), "once");
        }
        assert_eq!(queue.len(), 3);
        for next in [0, 1, 4] {
            let job = queue.pop_front().unwrap();
            assert_eq!(job.id(), tasks[next].id());
            end(job);
        }
        assert!(queue.pop_front().is_none() && queue.is_empty());
        let (task, last) = job();
        queue.push_back(last);
        end(queue.take(&task).unwrap());
        assert!(queue.is_empty() && queue.drain().next().is_none());
    }
}
