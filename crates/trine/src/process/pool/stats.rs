//! The statistics of a pool.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::process::task::record::Answer;
use crate::task::TaskError;

/// Statistics of a [`Pool`](crate::process::Pool), from
/// [`Pool::stats`](crate::process::Pool::stats).
///
/// The numbers of the first part are of one moment; the others only grow. Many arguments of a
/// [`map`](crate::Executor::map) may cross as one task. They count as one among the queued and
/// running tasks, and each by itself among the ended ones.
///
/// ```
/// let pool = trine::process::Pool::new(1);
/// assert_eq!(pool.spawn(20, |n: u8| n + 1).join()?, 21);
/// let stats = pool.stats();
/// assert_eq!((stats.completed, stats.failed, stats.queued), (1, 0, 0));
/// # Ok::<(), trine::TaskError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Workers that can take tasks or have one; a dismissed worker is not counted.
    pub workers: usize,
    /// Workers without a task.
    pub idle: usize,
    /// The first task of each worker: it runs, or is the next to run.
    pub running: usize,
    /// Tasks that wait: for a worker, at a worker behind another one, or for their next run.
    pub queued: usize,

    /// Tasks that have ended with a value.
    pub completed: u64,
    /// Tasks that have ended without a value, for any reason.
    pub failed: u64,
    /// Failed tasks that panicked.
    pub panicked: u64,
    /// Failed tasks whose process died ([`TaskError::is_crash`]).
    pub crashed: u64,
    /// Failed tasks whose time was up.
    pub timed_out: u64,
    /// Failed tasks that were cancelled.
    pub cancelled: u64,
    /// Runs of tasks after a crash.
    pub retried: u64,
    /// Workers that were forked.
    pub workers_started: u64,
    /// Workers that died without being dismissed: of a crash, of `exit`, by a signal.
    pub workers_lost: u64,
}

/// The numbers that only grow.
#[derive(Debug, Default)]
pub(super) struct Counts {
    completed: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    crashed: AtomicU64,
    timed_out: AtomicU64,
    cancelled: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) started: AtomicU64,
    pub(super) lost: AtomicU64,
}

impl Counts {
    /// Counts a task that ends.
    pub(super) fn ended(&self, result: &Result<Answer, TaskError>) {
        match result {
            Ok(Answer::One(..)) => {
                self.completed.fetch_add(1, Relaxed);
            }
            Ok(Answer::Many(gathered)) => {
                let mut failed = 0;
                for error in gathered.errors() {
                    self.has_failed(error);
                    failed += 1;
                }
                self.completed.fetch_add(gathered.len() as u64 - failed, Relaxed);
            }
            Err(error) => self.has_failed(error),
        }
    }

    fn has_failed(&self, error: &TaskError) {
        let kinds = [
            (true, &self.failed),
            (error.is_panic(), &self.panicked),
            (error.is_crash(), &self.crashed),
            (error.is_timeout(), &self.timed_out),
            (error.is_cancelled(), &self.cancelled),
        ];
        for (_, count) in kinds.into_iter().filter(|(is_one, _)| *is_one) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Returns `stats` with these numbers filled in.
    pub(super) fn enter(&self, stats: PoolStats) -> PoolStats {
        PoolStats {
            completed: self.completed.load(Relaxed),
            failed: self.failed.load(Relaxed),
            panicked: self.panicked.load(Relaxed),
            crashed: self.crashed.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            cancelled: self.cancelled.load(Relaxed),
            retried: self.retried.load(Relaxed),
            workers_started: self.started.load(Relaxed),
            workers_lost: self.lost.load(Relaxed),
            ..stats
        }
    }
}
