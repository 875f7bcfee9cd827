//! What a pool has done so far, and is doing.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::process::task::record::Answer;
use crate::task::TaskError;

/// Numbers of a [`Pool`](crate::process::Pool), from [`Pool::stats`](crate::process::Pool::stats).
///
/// Those of the first part are of one moment; the others only grow. Many arguments of a
/// [`map`](crate::Executor::map) may cross as one: they are one task among the queued and running ones, and as many
/// as they are among those that have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// Workers that can take tasks or have one; one that was told to end is not counted any more.
    pub workers: usize,
    /// Those of them that have no task.
    pub idle: usize,
    /// Tasks at a worker, one for each: it runs, or is the next to.
    pub running: usize,
    /// Tasks that wait: for a worker, at a worker behind another one, or to be run again.
    pub queued: usize,

    /// Tasks that have ended with a value.
    pub completed: u64,
    /// Tasks that have ended without one, for any reason.
    pub failed: u64,
    /// Of the failed ones, those that panicked.
    pub panicked: u64,
    /// Of the failed ones, those whose process died ([`TaskError::is_crash`]).
    pub crashed: u64,
    /// Of the failed ones, those whose time was up.
    pub timed_out: u64,
    /// Of the failed ones, those that were cancelled.
    pub cancelled: u64,
    /// How often a task was run again after a crash.
    pub retried: u64,
    /// Workers that were forked.
    pub workers_started: u64,
    /// Workers that have died without having been told to end: of a crash, of `exit`, by a signal.
    pub workers_lost: u64,
}

/// What only grows.
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
    /// A task has ended.
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

    /// Enters them into `stats`.
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
