//! The state of a dispatcher, used under its lock: its workers, and its tasks that no worker has.
//!
//! A task is in one of four places: in the `queue`, among the `jobs` of one worker, among the
//! `retries`, or ended. A worker is requested (`pending_forks`), present, or gone.
//!
//! A worker is given more tasks than the one that it runs: as many as it completes in about
//! [`AHEAD`], or it would wait for its master after each of them. No task waits behind a long one
//! for that: a worker that has nothing left steals what another worker has not begun.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | which worker gets which task; how many forks to request |
//! | `checks.rs` | all that depends on time: limits, idle workers, late ones, the end of the pool |
//! | `queue.rs` | the tasks that wait for a worker |
//! | `retries.rs` | the tasks that wait for the moment of their next run |

mod checks;
mod queue;
mod retries;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::link::WorkerLink;
use super::policy::{Plan, Policy};
use super::stats::PoolStats;
use super::worker::WorkerState;
use crate::process::task::job::{Job, TaskAlarm};
use crate::process::task::record::Record;
use crate::task::Cause;
use queue::Queue;
use retries::Retries;

/// The work that a worker is given ahead, in time.
const AHEAD: Duration = Duration::from_micros(200);
/// The most tasks that a worker is given ahead.
const MOST_AHEAD: u64 = 256;

/// The number of workers in a row that may fail to start until no more are forked.
const MOST_FAILED_STARTS: u32 = 3;

/// The time that a dismissed worker may take to end: its exit handlers run.
const LEAVE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct State {
    /// Tasks that no worker has, in order.
    queue: Queue,
    /// Tasks that wait for their next run.
    retries: Retries,
    /// Workers, by number.
    pub(super) workers: HashMap<u64, WorkerState>,
    /// Workers without a task. The one used last is at the end.
    idle: Vec<u64>,
    /// The number of workers that are dismissed.
    dismissed: usize,
    /// The time that a worker takes for a task, in nanoseconds: an average in which the last tasks
    /// count most.
    pub(super) pace: u64,
    /// The number of forks that are requested and not answered.
    pending_forks: usize,
    /// The time that a worker may go on with a task that was asked to end.
    pub(super) grace: Duration,
    /// True if no more tasks will be submitted.
    pub(super) closing: bool,
    /// The moment at which all workers are killed.
    kill_all_at: Option<Instant>,
    /// The reason why no more forks are requested, until something changes.
    no_forks: Option<String>,
    /// The number of workers in a row that failed to start.
    failed_starts: u32,
    /// The waker of the thread that waits for the last worker to end.
    pub(super) watcher: Option<Waker>,
    /// Alarms of tasks to set before the lock is given back.
    pub(super) alarms: Vec<TaskAlarm>,
    /// The moment of the next check, if `armed` does not cover it.
    pub(super) next_check: Option<Instant>,
    /// The moment at which the dispatcher's alarm goes off.
    pub(super) armed: Option<Instant>,
}

impl State {
    pub(super) fn new(grace: Duration) -> State {
        State { grace, ..State::default() }
    }

    /// Returns a worker that is known to be present.
    pub(super) fn worker(&mut self, id: u64) -> &mut WorkerState {
        self.workers.get_mut(&id).expect("the caller has seen this worker")
    }

    /// Returns the worker that has the task.
    pub(super) fn worker_of(&mut self, task: &Record) -> Option<&mut WorkerState> {
        self.workers.get_mut(&task.worker()).filter(|worker| worker.has(task.id()))
    }

    pub(super) fn link(&self, id: u64) -> Option<Arc<WorkerLink>> {
        self.workers.get(&id).map(|worker| Arc::clone(&worker.link))
    }

    pub(super) fn links(&self) -> impl Iterator<Item = Arc<WorkerLink>> {
        self.workers.values().map(|worker| Arc::clone(&worker.link))
    }

    /// Returns the process ids of the workers that are not dismissed.
    pub(super) fn pids(&self) -> Vec<u32> {
        let workers = self.workers.values().filter(|worker| !worker.dismissed);
        workers.map(|worker| worker.link.pid).collect()
    }

    /// Enqueues a new task, and gives it to an idle worker if there is one.
    pub(super) fn submit(&mut self, job: Job, policy: &Policy) {
        self.alarms.extend(job.deadline_alarm());
        self.no_forks = None;
        self.queue.push_back(job);
        if let Some(id) = self.idle.pop() {
            self.worker(id).idle = false;
            self.assign(id, policy);
        }
    }

    /// Puts a task that a worker had back to the front of the queue.
    pub(super) fn requeue(&mut self, job: Job) {
        self.queue.push_front(job);
    }

    /// Has a task run again after `pause`.
    pub(super) fn retry(&mut self, job: Job, pause: Duration) {
        let at = Instant::now().checked_add(pause);
        at.into_iter().for_each(|at| self.check_at(at));
        self.retries.put(at, job);
    }

    /// Asks the worker that has the task to end it with `cause`.
    pub(super) fn stop(&mut self, task: &Record, cause: Cause) {
        if let Some(worker) = self.workers.get_mut(&task.worker()) {
            worker.stop(task.id(), cause, self.grace, &mut self.alarms);
        }
    }

    /// Takes a task out that no worker has begun.
    pub(super) fn take(&mut self, task: &Record, policy: &Policy) -> Option<Job> {
        let waiting = self.queue.take(task).or_else(|| self.retries.take(task));
        waiting.or_else(|| self.withdraw(task, policy))
    }

    /// Takes a task back from a worker that has not begun it.
    fn withdraw(&mut self, task: &Record, policy: &Policy) -> Option<Job> {
        let id = task.worker();
        let job = self.worker_of(task)?.withdraw(task.id())?;
        let worker = self.worker(id);
        if !worker.dismissed && !worker.hung_up {
            self.assign(id, policy);
        }
        Some(job)
    }

    /// Adds a worker that was forked, and gives it tasks.
    pub(super) fn add(&mut self, worker: WorkerState, policy: &Policy) {
        self.pending_forks -= 1;
        worker.ready_by.into_iter().for_each(|at| self.check_at(at));
        let id = worker.link.id;
        self.workers.insert(id, worker);
        self.assign(id, policy);
        if let Some(at) = self.kill_all_at {
            self.check_at(at);
        }
    }

    /// Gives a worker tasks. Without any, it becomes idle or is dismissed.
    pub(super) fn assign(&mut self, id: u64, policy: &Policy) {
        let ahead = self.ahead(policy);
        let share = self.queue.len() / self.workers.len().max(1) + 1;
        let worker = self.workers.get_mut(&id).expect("the caller has seen this worker");
        let most = ahead.min(worker.jobs.len() + share);
        while worker.jobs.len() < most
            && worker.given < policy.tasks_per_worker
            && let Some(job) = self.queue.pop_front()
        {
            if let Some(job) = worker.give(job, policy) {
                self.queue.push_front(job);
                break;
            }
        }
        if !worker.jobs.is_empty() || worker.idle {
            self.check_limit_in_time(policy);
        } else if worker.given >= policy.tasks_per_worker {
            self.dismiss(id);
        } else if self.steal(id, policy) {
            self.check_limit_in_time(policy);
        } else if policy.is_fresh() || self.closing {
            self.dismiss(id);
        } else {
            self.become_idle(id, policy);
        }
    }

    /// Adds a worker to the idle ones. Those that are not ready are kept at the front: how long
    /// they will take is not known.
    fn become_idle(&mut self, id: u64, policy: &Policy) {
        let at = if self.worker(id).link.is_ready() { self.idle.len() } else { 0 };
        self.idle.insert(at, id);
        let since = policy.idle.map(|_| Instant::now());
        let worker = self.worker(id);
        (worker.idle, worker.idle_since) = (true, since);
        if let Some(at) = since.zip(policy.idle).and_then(|(since, idle)| since.checked_add(idle)) {
            self.check_at(at);
        }
    }

    /// Removes a worker from the idle ones. Returns false if it is not idle.
    pub(super) fn take_idle(&mut self, id: u64) -> bool {
        let Some(index) = self.idle.iter().position(|idle| *idle == id) else { return false };
        self.idle.remove(index);
        self.worker(id).idle = false;
        true
    }

    /// Returns the number of tasks that a worker may have.
    fn ahead(&self, policy: &Policy) -> usize {
        match policy.plan {
            Plan::Fresh(_) => 1,
            Plan::Kept(_) if policy.captures => 1,
            Plan::Kept(_) => {
                let count = AHEAD.as_nanos() as u64 / self.pace.max(1);
                1 + count.clamp(1, MOST_AHEAD) as usize
            }
        }
    }

    /// Gives a worker without tasks half of the tasks that another has not begun, or the one task
    /// of a worker that is not ready. Returns false if there is nothing to steal.
    fn steal(&mut self, id: u64, policy: &Policy) -> bool {
        let is_ready = self.worker(id).link.is_ready();
        // A task that went through the socket stays at its worker.
        let gives_all = |worker: &WorkerState| {
            let last = worker.jobs.back().filter(|_| is_ready && !worker.link.is_ready());
            last.is_some_and(|job| job.ring_position.is_some())
        };
        let spare = |all: bool, worker: &WorkerState| worker.jobs.len() + usize::from(all);
        let workers = self.workers.values_mut().map(|worker| (gives_all(worker), worker));
        let busiest = workers.max_by_key(|(all, worker)| (spare(*all, worker), *all));
        let Some((all, busiest)) = busiest else { return false };
        let mut stolen: Vec<Job> = Vec::new();
        for _ in 0..spare(all, busiest) / 2 {
            stolen.extend(busiest.withdraw_last());
        }
        let (robbed, stays) = (busiest.link.id, !busiest.dismissed && !busiest.hung_up);
        let is_left_idle = stays && busiest.jobs.is_empty() && !stolen.is_empty();
        let worker = self.worker(id);
        while worker.given < policy.tasks_per_worker
            && let Some(job) = stolen.pop()
        {
            if let Some(job) = worker.give(job, policy) {
                stolen.push(job);
                break;
            }
        }
        stolen.into_iter().for_each(|job| self.queue.push_front(job));
        if is_left_idle {
            self.assign(robbed, policy);
        }
        !self.worker(id).jobs.is_empty()
    }

    /// Gives queued tasks to idle workers.
    pub(super) fn assign_to_idle(&mut self, policy: &Policy) {
        while !self.queue.is_empty()
            && let Some(id) = self.idle.pop()
        {
            self.worker(id).idle = false;
            self.assign(id, policy);
        }
    }

    /// Returns the number of workers that are not dismissed.
    fn living(&self) -> usize {
        self.workers.len() - self.dismissed
    }

    /// Returns the number of tasks that wait for a worker, or behind another task.
    fn waiting(&self) -> usize {
        let behind = |worker: &WorkerState| worker.jobs.len().saturating_sub(1);
        self.queue.len() + self.workers.values().map(behind).sum::<usize>()
    }

    /// Returns the number of forks that should be pending.
    ///
    /// A dismissed worker is replaced at once. A fresh worker is not: until it has ended, it counts
    /// against the most that there may be.
    fn needed(&self, policy: &Policy) -> usize {
        let there = if policy.is_fresh() { self.workers.len() } else { self.living() };
        let room = policy.most().saturating_sub(there);
        if room == 0 {
            // The usual case: each task of a busy pool comes here, and must not visit each worker.
            return 0;
        }
        match (policy.plan, policy.idle) {
            (Plan::Kept(_), None) if !self.closing => room,
            (Plan::Kept(_), Some(_)) if !self.closing => {
                room.min(self.waiting().max(policy.fewest.saturating_sub(there)))
            }
            _ => room.min(self.queue.len()),
        }
    }

    /// Returns the number of forks to request now, and counts them as pending.
    pub(super) fn plan_forks(&mut self, policy: &Policy) -> usize {
        if self.no_forks.is_some() {
            return 0;
        }
        let forks = self.needed(policy).saturating_sub(self.pending_forks);
        self.pending_forks += forks;
        forks
    }

    /// Counts one pending fork less if it is not needed. Returns false if it is.
    pub(super) fn cancel_fork(&mut self, policy: &Policy) -> bool {
        let is_spare = self.pending_forks > self.needed(policy);
        self.pending_forks -= usize::from(is_spare);
        is_spare
    }

    /// Notes that a pending fork was refused. Returns the tasks that fail of it.
    pub(super) fn fork_refused(&mut self, reason: String) -> Vec<(Job, Cause)> {
        self.pending_forks -= 1;
        self.no_forks = Some(reason);
        self.give_up_if_alone()
    }

    /// Notes that a worker that has ended was ready before.
    pub(super) fn start_succeeded(&mut self) {
        self.failed_starts = 0;
        self.no_forks = None;
    }

    /// Notes that a worker has died before it was ready, or is killed because it is not.
    pub(super) fn start_failed(&mut self, known: &str) {
        self.failed_starts += 1;
        if self.failed_starts >= MOST_FAILED_STARTS {
            self.failed_starts = 0;
            self.no_forks = Some(format!(
                "{MOST_FAILED_STARTS} workers in a row died before they could take a task; of the \
                 last one is known: {known}"
            ));
        }
    }

    /// Takes all queued tasks, to fail them, if no worker is present or pending and none will be.
    pub(super) fn give_up_if_alone(&mut self) -> Vec<(Job, Cause)> {
        match &self.no_forks {
            Some(reason) if self.workers.is_empty() && self.pending_forks == 0 => {
                let cause = Cause::NotSpawned { reason: reason.clone() };
                self.queue.drain().map(|job| (job, cause.clone())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Dismisses an idle worker.
    pub(super) fn dismiss(&mut self, id: u64) {
        let leaves_by = Instant::now() + LEAVE;
        let worker = self.worker(id);
        worker.idle = false;
        worker.leaves_by = Some(leaves_by);
        worker.dismiss();
        self.dismissed += 1;
        self.check_at(leaves_by);
    }

    /// Dismisses all idle workers.
    pub(super) fn dismiss_idle(&mut self) {
        for id in std::mem::take(&mut self.idle) {
            self.dismiss(id);
        }
    }

    /// Notes that a worker has closed its connection, and gives the tasks that it has not begun to
    /// others.
    pub(super) fn hung_up(&mut self, id: u64, policy: &Policy) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.hung_up = true;
        worker.idle = false;
        let back = worker.withdraw_all();
        self.idle.retain(|idle| *idle != id);
        back.into_iter().for_each(|job| self.queue.push_front(job));
        self.assign_to_idle(policy);
    }

    /// Removes a worker that has ended.
    pub(super) fn remove(&mut self, id: u64) -> Option<WorkerState> {
        let worker = self.workers.remove(&id)?;
        self.idle.retain(|idle| *idle != id);
        self.dismissed -= usize::from(worker.dismissed);
        Some(worker)
    }

    /// Returns true if the pool is closed and has no workers and no tasks any more.
    pub(super) fn is_ended(&self) -> bool {
        self.closing
            && self.workers.is_empty()
            && self.pending_forks == 0
            && self.queue.is_empty()
            && self.retries.is_empty()
    }

    /// Takes the waker to call if the pool has ended.
    pub(super) fn take_watcher(&mut self) -> Option<Waker> {
        if self.is_ended() { self.watcher.take() } else { None }
    }

    pub(super) fn stats(&self) -> PoolStats {
        let running = self.workers.values().filter(|worker| !worker.jobs.is_empty()).count();
        PoolStats {
            workers: self.living(),
            idle: self.idle.len(),
            running,
            queued: self.waiting() + self.retries.len(),
            ..PoolStats::default()
        }
    }
}
