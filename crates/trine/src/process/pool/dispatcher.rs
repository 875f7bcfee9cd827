//! The dispatcher of a pool: which worker gets which task, and when to fork.
//!
//! All decisions are made under one lock by short functions that only look and move, those of
//! [`State`]. They leave the rest (forks to request, tasks to end) in a [`Deferred`], for when the
//! lock is given back.
//!
//! All that depends on time alone (limits of tasks, idle workers, retries) shares one alarm of
//! the dispatcher, set for the first such moment. Then the dispatcher [checks](Dispatcher::check)
//! all of it. So a task with a limit costs no alarm of its own.
//!
//! The events that the service thread reports are in `events.rs`.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::deferred::{Deferred, Ended};
use super::link::WorkerLink;
use super::policy::Policy;
use super::state::State;
use super::stats::{Counts, PoolStats};
use crate::process::capsule::store::Store;
use crate::process::service::requests::Requests;
use crate::process::service::spec::TemplateSpec;
use crate::process::task::job::Job;
use crate::process::task::record::{Answer, Record};
use crate::process::task::value::MAX_RESULT;
use crate::process::wire::{self, FrameKind, REST};
use crate::process::worker::setup::Setup;
use crate::sync::{Semaphore, SemaphorePermit};
use crate::task::{Cause, TaskError, park, wait};

pub(in crate::process) struct Dispatcher {
    pub(super) policy: Policy,
    /// The `SETUP` frame for each worker.
    pub(super) setup: Option<Arc<Vec<u8>>>,
    /// A permit for each task that may still be submitted; `None` if that is not bounded.
    room: Option<Semaphore>,
    pub(super) counts: Counts,
    /// The service, once the first task or fork has needed it.
    service: OnceLock<&'static Arc<Service>>,
    state: Mutex<State>,
}

/// The service as dispatchers see it.
pub(in crate::process) type Service = Requests<Dispatcher>;

impl Dispatcher {
    pub(super) fn new(mut policy: Policy, setup: &Setup) -> Arc<Dispatcher> {
        policy.captures = setup.captures;
        policy.max_result = setup.limits.max_result.unwrap_or(MAX_RESULT);
        let setup =
            (*setup != Setup::default()).then(|| Arc::new(wire::frame(FrameKind::Setup, 0, setup)));
        let room = policy.queue.map(|queue| {
            Semaphore::new(policy.most().saturating_add(queue).min(Semaphore::MAX_PERMITS))
        });
        let state = Mutex::new(State::new(policy.grace));
        let (counts, service) = (Counts::default(), OnceLock::new());
        Arc::new(Dispatcher { policy, setup, room, counts, service, state })
    }

    /// Returns the spec of the template that its workers are forked from.
    pub(in crate::process) fn spec(&self) -> &Arc<TemplateSpec> {
        &self.policy.spec
    }

    /// Returns true if its workers await a `SETUP` frame before they are ready.
    pub(in crate::process) fn has_setup(&self) -> bool {
        self.setup.is_some()
    }

    /// Returns true if the output of its workers is captured.
    pub(in crate::process) fn captures(&self) -> bool {
        self.policy.captures
    }

    /// Returns true if its workers are kept, and share rings with the master.
    pub(in crate::process) fn has_rings(&self) -> bool {
        !self.policy.is_fresh()
    }

    /// Returns the time that one of its tasks may run.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.policy.limit
    }

    /// Returns the most bytes of a result.
    pub(super) fn max_result(&self) -> u64 {
        self.policy.max_result
    }

    /// Returns true if each task has to cross by itself: it has a limit, a process or captured
    /// output of its own.
    pub(super) fn takes_single_tasks_only(&self) -> bool {
        self.policy.limit.is_some() || self.policy.is_fresh() || self.policy.captures
    }

    /// Returns the service; `None` before it was needed, and in a copy of the program made by
    /// `fork`.
    pub(super) fn service(&self) -> Option<&'static Arc<Service>> {
        self.service.get().copied().filter(|service| service.is_ours())
    }

    /// Waits until there is room for another task. The permit comes back at the end of the task,
    /// once that is submitted.
    pub(super) fn admit(&self) -> Option<SemaphorePermit<'_>> {
        self.room.as_ref().map(Semaphore::acquire)
    }

    /// Like [`admit`](Dispatcher::admit), but does not wait.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub(super) fn try_admit(&self) -> Result<Option<SemaphorePermit<'_>>, ()> {
        self.room.as_ref().map(|room| room.try_acquire().ok_or(())).transpose()
    }

    /// Submits an admitted task, which ends at some time, whatever happens. `get` returns the
    /// service, and starts it if need be.
    pub(super) fn submit(
        self: &Arc<Dispatcher>,
        mut job: Job,
        get: impl FnOnce() -> Result<&'static Arc<Service>, String>,
    ) {
        let unfit = self.policy.unfit.clone();
        match unfit.map_or_else(get, Err) {
            Ok(service) => {
                self.service.get_or_init(|| service);
                job.capsules = self.policy.capsules.as_ref().map(Store::pending);
                if job.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return self.fail(job, Cause::TimedOut);
                }
                let mut state = self.lock();
                state.submit(job, &self.policy);
                let forks = state.plan_forks(&self.policy);
                self.arm(&mut state);
                drop(state);
                self.request_forks(forks);
            }
            Err(reason) => self.fail(job, Cause::NotSpawned { reason }),
        }
    }

    /// Requests the workers that the plan wants before there are tasks. `get` is as for
    /// [`submit`](Dispatcher::submit).
    pub(super) fn start(
        self: &Arc<Dispatcher>,
        get: impl FnOnce() -> Result<&'static Arc<Service>, String>,
    ) {
        // An error is reported by each task.
        if self.policy.unfit.is_none()
            && let Ok(service) = get()
        {
            self.service.get_or_init(|| service);
            let forks = self.lock().plan_forks(&self.policy);
            self.request_forks(forks);
        }
    }

    /// Ends a submitted task: takes its alarms back, counts it, makes room for another one, and
    /// wakes its joiner.
    fn finish(self: &Arc<Dispatcher>, mut job: Job, result: Result<Answer, TaskError>) {
        let mut alarms = job.alarms().peekable();
        if alarms.peek().is_some()
            && let Some(service) = self.service()
        {
            alarms.for_each(|at| service.unset_task_alarm(at, job.id()));
        }
        self.counts.ended(&result);
        match job.capsules.take_if(|capsules| capsules.is_due()) {
            Some(capsules) => {
                let dispatcher = Arc::clone(self);
                capsules.write_then(move || dispatcher.end_job(job, result));
            }
            None => self.end_job(job, result),
        }
    }

    /// Makes room for another task, and wakes the joiner of this one.
    fn end_job(&self, job: Job, result: Result<Answer, TaskError>) {
        if let Some(room) = &self.room {
            room.add_permits(1);
        }
        job.end(result);
    }

    /// Ends a submitted task: the part without a result fails with `cause`.
    fn fail(self: &Arc<Dispatcher>, mut job: Job, cause: Cause) {
        if let Some(result) = job.item_failed(REST, cause) {
            self.finish(job, result);
        }
    }

    /// Does the work left by replies.
    pub(super) fn settle(self: &Arc<Dispatcher>, ended: Ended) {
        self.request_forks(ended.forks);
        for (job, result) in ended.ends {
            self.finish(job, result);
        }
    }

    /// Does the work left by anything else.
    pub(super) fn carry_out(self: &Arc<Dispatcher>, deferred: Deferred) {
        self.request_forks(deferred.forks);
        if deferred.retires
            && let Some(service) = self.service()
        {
            service.retire(self);
        }
        for (job, cause) in deferred.failed {
            self.fail(job, cause);
        }
        if let Some(waker) = deferred.wake {
            park::wake(waker);
        }
    }

    /// Requests `count` workers.
    fn request_forks(self: &Arc<Dispatcher>, count: usize) {
        if count > 0
            && let Some(service) = self.service()
        {
            service.request_forks(self, count);
        }
    }

    /// Sets the time that a worker may go on with a task that was asked to end.
    pub(super) fn set_grace(&self, grace: Duration) {
        self.lock().grace = grace;
    }

    /// Asks a task to end with `cause`. A queued task does so at once; a running one gets the grace
    /// for it. A task that has ended stays as it is.
    pub(super) fn stop(self: &Arc<Dispatcher>, task: &Record, cause: Cause) {
        if self.service().is_none() {
            return;
        }
        let mut state = self.lock();
        let deferred = match state.take(task, &self.policy) {
            Some(job) => Deferred {
                forks: state.plan_forks(&self.policy),
                failed: vec![(job, cause)],
                wake: state.take_watcher(),
                retires: state.closing,
            },
            None => {
                state.stop(task, cause);
                Deferred::default()
            }
        };
        self.arm(&mut state);
        drop(state);
        self.carry_out(deferred);
    }

    /// Acts on an alarm of a task: its time is up, or its grace is over.
    pub(in crate::process) fn check_task(self: &Arc<Dispatcher>, task: &Record) {
        let mut state = self.lock();
        match state.worker_of(task) {
            Some(worker) if worker.is_stopped(task.id()) => {
                let id = worker.link.id;
                state.end_grace(id, Instant::now());
                state.assign_to_idle(&self.policy);
                self.arm(&mut state);
            }
            _ => {
                drop(state);
                self.stop(task, Cause::TimedOut);
            }
        }
    }

    /// Returns the workers whose tasks have a limit. Their replies have to be taken before
    /// [`check`](Dispatcher::check): a reply that came in time counts.
    pub(in crate::process) fn limited_links(&self) -> Vec<Arc<WorkerLink>> {
        if self.policy.limit.is_some() { self.lock().links().collect() } else { Vec::new() }
    }

    /// Acts on the dispatcher's own alarm: checks all that depends on time alone.
    pub(in crate::process) fn check(self: &Arc<Dispatcher>) {
        let Some(service) = self.service() else { return };
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(armed) = state.armed.take() {
            // Usually it is the alarm that has just gone off.
            service.unset_pool_alarm(armed, Arc::as_ptr(self));
        }
        state.check(now, &self.policy);
        let forks = state.plan_forks(&self.policy);
        self.arm(&mut state);
        drop(state);
        self.request_forks(forks);
    }

    /// Sets the alarms of tasks that `state` has noted, and the dispatcher's own for the next
    /// check.
    pub(super) fn arm(self: &Arc<Dispatcher>, state: &mut State) {
        if (state.next_check.is_some() || !state.alarms.is_empty())
            && let Some(service) = self.service()
        {
            self.set_alarms(state, service);
        }
    }

    fn set_alarms(self: &Arc<Dispatcher>, state: &mut State, service: &Service) {
        for (at, task) in state.alarms.drain(..) {
            service.set_task_alarm(at, self, task);
        }
        let Some(at) = state.next_check.take() else { return };
        if state.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        if let Some(later) = state.armed.replace(at) {
            service.unset_pool_alarm(later, Arc::as_ptr(self));
        }
        service.set_pool_alarm(at, self);
    }

    /// Takes no more tasks; workers end when there are none left.
    pub(super) fn close(self: &Arc<Dispatcher>) {
        let mut state = self.lock();
        state.closing = true;
        // In a copy of the program, made by `fork`, the workers are the original's.
        if let Some(service) = self.service() {
            state.dismiss_idle();
            self.arm(&mut state);
            drop(state);
            service.retire(self);
        }
    }

    /// Takes no more tasks, and ends the present ones. Running tasks get the time `within` for it;
    /// then all workers are killed.
    pub(super) fn end(self: &Arc<Dispatcher>, within: Duration) {
        if self.service().is_none() {
            return self.close();
        }
        let cause = Cause::Cancelled { reason: Some("its pool was stopped".into()) };
        let mut state = self.lock();
        state.closing = true;
        let waiting = state.end(&cause, within);
        let failed = waiting.into_iter().map(|job| (job, cause.clone())).collect();
        self.arm(&mut state);
        drop(state);
        self.carry_out(Deferred { failed, retires: true, ..Deferred::default() });
    }

    /// Waits until the last worker of a closed pool has ended.
    pub(super) fn wait_until_ended(&self) {
        // Without the service, no thread would wake the caller.
        if self.service().is_none() {
            return;
        }
        let waker = park::waker();
        loop {
            let mut state = self.lock();
            if state.is_ended() {
                break;
            }
            state.watcher = Some(waker.clone());
            drop(state);
            wait::or_unwind(None);
        }
    }

    /// Waits until the capsules of failed tasks are written, and these tasks have ended.
    pub(super) fn wait_until_written(&self) {
        if let Some(capsules) = self.policy.capsules.as_ref().filter(|_| self.service().is_some()) {
            capsules.wait_until_written();
        }
    }

    /// Returns the process ids of the workers that can take tasks or have one.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.lock().pids()
    }

    pub(super) fn stats(&self) -> PoolStats {
        let now = self.lock().stats();
        self.counts.enter(now)
    }

    /// Returns the worker with this number.
    pub(super) fn link(&self, id: u64) -> Option<Arc<WorkerLink>> {
        self.lock().link(id)
    }

    /// Locks the state. Nothing under this lock can panic halfway through a change.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        let armed = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).armed;
        if let (Some(armed), Some(service)) = (armed, self.service()) {
            service.unset_pool_alarm(armed, self);
        }
    }
}
