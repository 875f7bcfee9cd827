//! The events of a pool's workers, as the service thread reports them to the dispatcher.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use super::deferred::{Deferred, Ended, Received};
use super::dispatcher::Dispatcher;
use super::link::WorkerLink;
use super::state::State;
use super::worker::WorkerState;
use crate::process::task::job::{Fate, Job};
use crate::process::wire::Head;
use crate::process::wire::ring::Producer;
use crate::task::{Cause, park};

impl Dispatcher {
    /// Adds a worker that was forked.
    pub(in crate::process) fn joined(
        self: &Arc<Dispatcher>,
        link: Arc<WorkerLink>,
        tasks: Option<Producer>,
    ) {
        self.counts.started.fetch_add(1, Relaxed);
        let mut worker = WorkerState::new(link, tasks);
        let ready_within = self.policy.start;
        worker.ready_by = ready_within.and_then(|time| Instant::now().checked_add(time));
        let mut state = self.lock();
        if let Some(setup) = &self.setup {
            worker.send(Arc::clone(setup));
        }
        state.add(worker, &self.policy);
        self.arm(&mut state);
    }

    /// Notes that a worker is ready and idle: it takes over the tasks of one that is not ready.
    pub(in crate::process) fn is_ready(self: &Arc<Dispatcher>, link: &WorkerLink) {
        let mut state = self.lock();
        if state.take_idle(link.id) {
            state.assign(link.id, &self.policy);
            self.arm(&mut state);
        }
    }

    /// Notes that a fork was refused. The pool goes on with the workers it has; without any, its
    /// tasks fail.
    pub(in crate::process) fn refused(self: &Arc<Dispatcher>, reason: String) {
        let mut state = self.lock();
        let failed = state.fork_refused(reason);
        let wake = state.take_watcher();
        drop(state);
        self.carry_out(Deferred { failed, wake, ..Deferred::default() });
    }

    /// Withdraws a requested fork that is not needed any more, because its task was cancelled or
    /// the pool was closed. Returns false if all are needed.
    pub(in crate::process) fn withdraw(&self) -> bool {
        let mut state = self.lock();
        if !state.cancel_fork(&self.policy) {
            return false;
        }
        let wake = state.take_watcher();
        drop(state);
        wake.into_iter().for_each(park::wake);
        true
    }

    /// Takes replies of a worker, which gets more tasks unless it is known to be dead.
    ///
    /// Also returns the fault of a reply that no intact worker would send. The replies before it
    /// count.
    pub(super) fn answered<'a>(
        self: &Arc<Dispatcher>,
        link: &WorkerLink,
        replies: impl Iterator<Item = Received<'a>>,
        dead: bool,
    ) -> (Ended, Option<String>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut ended = Ended::default();
        let Some(worker) = state.workers.get_mut(&link.id) else { return (ended, None) };
        let (mut wrong, mut pace) = (None, state.pace);
        for reply in replies {
            match worker.answered(reply, &mut pace) {
                Ok(None) => {}
                Ok(Some(end)) => ended.ends.push(end),
                Err(reason) => {
                    wrong = Some(reason);
                    break;
                }
            }
        }
        let is_done = self.policy.is_fresh() && worker.jobs.is_empty();
        if dead || wrong.is_some() || worker.dismissed || worker.hung_up {
            // Its death follows.
        } else if is_done {
            state.dismiss(link.id);
        } else {
            state.pace = pace;
            state.assign(link.id, &self.policy);
            if state.worker(link.id).dismissed {
                ended.forks = state.plan_forks(&self.policy);
            }
        }
        self.arm(state);
        (ended, wrong)
    }

    /// Sends a worker the frames that wait: there is room in its socket.
    pub(in crate::process) fn room(&self, id: u64) {
        if let Some(worker) = self.lock().workers.get_mut(&id) {
            worker.flush();
        }
    }

    /// Asks a worker that has been at its first task for a while if it is idle.
    pub(in crate::process) fn probe(&self, id: u64) {
        let mut state = self.lock();
        if let Some(worker) = state.workers.get_mut(&id).filter(|worker| !worker.dismissed) {
            worker.probe();
        }
    }

    /// Returns true if the worker was asked if it is idle at this task, and has not replied before.
    pub(in crate::process) fn awaits_reply(&self, id: u64, task: u64) -> bool {
        self.lock().workers.get_mut(&id).is_some_and(|worker| worker.take_reply(task))
    }

    /// Returns the most bytes of a result that a worker may send now for this task and item; `None`
    /// if it does not have the task, or has answered.
    pub(in crate::process) fn room_for(&self, id: u64, head: &Head) -> Option<u64> {
        self.lock().workers.get(&id)?.room_for(head)
    }

    /// Returns true if this task is the worker's first one.
    pub(in crate::process) fn is_first(&self, id: u64, task: u64) -> bool {
        let state = self.lock();
        let first = state.workers.get(&id).and_then(|worker| worker.jobs.front());
        first.is_some_and(|job| job.id() == task)
    }

    /// Returns true if the worker was dismissed.
    pub(in crate::process) fn has_dismissed(&self, id: u64) -> bool {
        self.lock().workers.get(&id).is_some_and(|worker| worker.dismissed)
    }

    /// Returns true if a closed pool has no workers and no tasks any more; it stays so.
    pub(in crate::process) fn is_ended(&self) -> bool {
        self.lock().is_ended()
    }

    /// Notes that a worker has closed its connection: it is dying, or is killed soon. The tasks
    /// that it has not begun go to others.
    pub(in crate::process) fn hung_up(self: &Arc<Dispatcher>, id: u64) {
        let mut state = self.lock();
        state.hung_up(id, &self.policy);
        self.arm(&mut state);
    }

    /// Notes that a worker cannot be killed. Its tasks end with `cause`, as they may still run.
    /// Those that it can no longer begin go to other workers.
    pub(in crate::process) fn gave_up(self: &Arc<Dispatcher>, id: u64, cause: &Cause) {
        let mut state = self.lock();
        state.hung_up(id, &self.policy);
        let Some(mut worker) = state.remove(id) else { return };
        self.counts.lost.fetch_add(1, Relaxed);
        let jobs = std::mem::take(&mut worker.jobs);
        let failed = jobs.into_iter().map(|job| (job, cause.clone())).collect();
        self.go_on_without(worker, state, failed);
    }

    /// Notes that a worker has ended and was reaped. A task that it had begun ends with `cause`, or
    /// runs again. The tasks that it had not begun go to other workers.
    pub(in crate::process) fn died(self: &Arc<Dispatcher>, id: u64, was_ready: bool, cause: Cause) {
        let mut state = self.lock();
        let Some(mut worker) = state.remove(id) else { return };
        self.counts.lost.fetch_add(u64::from(!worker.dismissed || worker.killed), Relaxed);
        if was_ready {
            state.start_succeeded();
        } else if !worker.dismissed && !worker.jobs.iter().any(Job::is_stopped) {
            match &cause {
                Cause::NotSpawned { reason } => state.start_failed(reason),
                cause => state.start_failed(&cause.to_string()),
            }
        }
        let mut failed = Vec::new();
        let begun = worker.begun();
        let has_begun_one = worker.jobs.iter().any(|job| job.id() == begun.task);
        for (index, mut job) in std::mem::take(&mut worker.jobs).into_iter().enumerate().rev() {
            // Only the first task can have caused the death, and only if it could have begun.
            let item = (job.id() == begun.task).then_some(begun.item);
            let is_first = index == 0 && !has_begun_one && was_ready;
            if item.is_some() {
                job.printed = worker.link.printed().map(Box::new);
            }
            match job.died_with_worker(item, is_first, &cause, self.policy.retries) {
                Fate::Ends(cause) => {
                    job.keep_progress(worker.link.slot.progress(job.id()));
                    failed.push((job, cause));
                }
                Fate::Goes => {
                    job.taken_back();
                    state.requeue(job);
                }
                Fate::RunsAgain(attempt) => {
                    job.taken_back();
                    self.counts.retried.fetch_add(1, Relaxed);
                    state.retry(job, self.policy.pause_before(attempt));
                }
            }
        }
        self.go_on_without(worker, state, failed);
    }

    /// Replaces a worker that was removed, and ends the tasks that have failed with it.
    fn go_on_without(
        self: &Arc<Dispatcher>,
        worker: WorkerState,
        mut state: MutexGuard<'_, State>,
        mut failed: Vec<(Job, Cause)>,
    ) {
        failed.append(&mut state.give_up_if_alone());
        let forks = state.plan_forks(&self.policy);
        state.assign_to_idle(&self.policy);
        self.arm(&mut state);
        let wake = state.take_watcher();
        // Before the joiners are woken: its descriptors are closed, its memory is unmapped.
        drop(worker);
        drop(state);
        self.carry_out(Deferred { forks, failed, wake, ..Deferred::default() });
    }
}
