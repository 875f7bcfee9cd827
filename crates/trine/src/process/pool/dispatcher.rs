//! The workers of one pool and the tasks that wait for them: who gets what, and when to fork.
//!
//! All decisions are taken under one lock by short functions that only look and move (the [`State`]'s); what has to
//! happen outside (forks to ask for, tasks to end) they leave in a [`Deferred`].
//!
//! What depends on time alone (limits of tasks, workers that rest for long, retries) has one alarm for the whole
//! dispatcher, at the first such moment: then all of it is [looked at](Dispatcher::look). So a task with a limit costs no alarm.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::deferred::{Deferred, Ended, Received};
use super::link::WorkerLink;
use super::policy::Policy;
use super::state::State;
use super::stats::{Counts, PoolStats};
use super::worker::WorkerState;
use crate::process::service::requests::Requests;
use crate::process::service::spec::TemplateSpec;
use crate::process::task::job::{Fate, Job};
use crate::process::task::record::{Answer, Record};
use crate::process::wire::ring::Producer;
use crate::process::wire::{self, FrameKind, REST};
use crate::process::worker::setup::Setup;
use crate::sync::{Semaphore, SemaphorePermit};
use crate::task::{Cause, TaskError, park, wait};

pub(in crate::process) struct Dispatcher {
    policy: Policy,
    /// A `SETUP` frame for each worker.
    setup: Option<Arc<Vec<u8>>>,
    /// A permit for each task that may be here beside those that are, where that is bounded.
    room: Option<Semaphore>,
    counts: Counts,
    /// Its way to ask the service for something; set when the first task or fork needs it.
    service: OnceLock<&'static Arc<Service>>,
    state: Mutex<State>,
}

/// The service as dispatchers see it.
pub(in crate::process) type Service = Requests<Dispatcher>;

impl Dispatcher {
    pub(super) fn new(mut policy: Policy, setup: &Setup) -> Arc<Dispatcher> {
        policy.captures = setup.captures;
        let setup =
            (*setup != Setup::default()).then(|| Arc::new(wire::frame(FrameKind::Setup, 0, setup)));
        let room = policy.queue.map(|queue| {
            Semaphore::new(policy.most().saturating_add(queue).min(Semaphore::MAX_PERMITS))
        });
        let state = Mutex::new(State::new(policy.grace));
        let (counts, service) = (Counts::default(), OnceLock::new());
        Arc::new(Dispatcher { policy, setup, room, counts, service, state })
    }

    /// What its workers are forked from.
    pub(in crate::process) fn spec(&self) -> &Arc<TemplateSpec> {
        &self.policy.spec
    }

    /// The `SETUP` frame that its workers await before they are ready.
    pub(in crate::process) fn setup(&self) -> Option<&Arc<Vec<u8>>> {
        self.setup.as_ref()
    }

    /// Whether what its workers print is captured.
    pub(in crate::process) fn captures(&self) -> bool {
        self.policy.captures
    }

    /// How long one of its tasks may run.
    pub(super) fn limit(&self) -> Option<Duration> {
        self.policy.limit
    }

    /// Whether each task has to cross by itself: it has a limit, a process or words of its own.
    pub(super) fn takes_single_tasks_only(&self) -> bool {
        self.policy.limit.is_some() || self.policy.is_fresh() || self.policy.captures
    }

    /// Waits until there is room for another task. The permit is given back with the task, once it is submitted.
    pub(super) fn admit(&self) -> Option<SemaphorePermit<'_>> {
        self.room.as_ref().map(Semaphore::acquire)
    }

    /// As `admit`, but does not wait.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub(super) fn try_admit(&self) -> Result<Option<SemaphorePermit<'_>>, ()> {
        self.room.as_ref().map(|room| room.try_acquire().ok_or(())).transpose()
    }

    /// Returns the service; `None` before it was needed, and in a copy of the program made by `fork`.
    pub(super) fn service(&self) -> Option<&'static Arc<Service>> {
        self.service.get().copied().filter(|service| service.is_ours())
    }

    /// Takes on an admitted task, which ends at some time, whatever happens. `get` returns the
    /// service, and starts it if need be.
    pub(super) fn submit(
        self: &Arc<Dispatcher>,
        job: Job,
        get: impl FnOnce() -> Result<&'static Arc<Service>, String>,
    ) {
        let unfit = self.policy.unfit.clone();
        match unfit.map_or_else(get, Err) {
            Ok(service) => {
                self.service.get_or_init(|| service);
                if job.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    return self.fail(job, Cause::TimedOut);
                }
                self.enqueue(job);
            }
            Err(reason) => self.fail(job, Cause::NotSpawned { reason }),
        }
    }

    fn enqueue(self: &Arc<Dispatcher>, job: Job) {
        let mut state = self.lock();
        state.alarms.extend(job.deadline_alarm());
        state.held = None;
        state.queue.push_back(job);
        if let Some(id) = state.idle.pop() {
            state.post(id).idle = false;
            state.employ(id, &self.policy);
        }
        let forks = state.balance(&self.policy);
        self.arm(&mut state);
        drop(state);
        self.request_forks(forks);
    }

    /// Requests the workers that the plan wants before there is work. `get` is as for
    /// [`submit`](Dispatcher::submit).
    pub(super) fn start(
        self: &Arc<Dispatcher>,
        get: impl FnOnce() -> Result<&'static Arc<Service>, String>,
    ) {
        // Each task reports an error.
        if self.policy.unfit.is_none()
            && let Ok(service) = get()
        {
            self.service.get_or_init(|| service);
            let forks = self.lock().balance(&self.policy);
            self.request_forks(forks);
        }
    }

    /// Ends a submitted task: takes its alarms back, counts it, makes room for the next one, and
    /// wakes its joiner.
    fn finish(&self, job: Job, result: Result<Answer, TaskError>) {
        let mut alarms = job.alarms().peekable();
        if alarms.peek().is_some()
            && let Some(service) = self.service()
        {
            alarms.for_each(|at| service.unset_task_alarm(at, job.id()));
        }
        self.counts.ended(&result);
        if let Some(room) = &self.room {
            room.add_permits(1);
        }
        job.end(result);
    }

    /// Ends a submitted task with `cause`, or what of it has no result yet.
    fn fail(&self, mut job: Job, cause: Cause) {
        if let Some(result) = job.item_failed(REST, cause) {
            self.finish(job, result);
        }
    }

    /// Does what replies have left to do.
    pub(super) fn settle(self: &Arc<Dispatcher>, ended: Ended) {
        self.request_forks(ended.forks);
        for (job, result) in ended.ends {
            self.finish(job, result);
        }
    }

    /// Does what was left to do when the lock was held.
    fn carry_out(self: &Arc<Dispatcher>, deferred: Deferred) {
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
            waker.wake();
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

    /// Sets how long a worker may go on with a task that was asked to end.
    pub(super) fn set_grace(&self, grace: Duration) {
        self.lock().grace = grace;
    }

    /// Asks a task to end with `cause`: in the queue it does so at once; at a worker it has the
    /// grace to do so. One that has left the dispatcher stays as it is.
    pub(super) fn stop(self: &Arc<Dispatcher>, task: &Record, cause: Cause) {
        if self.service().is_none() {
            return;
        }
        let mut state = self.lock();
        let deferred = match state.take(task, &self.policy) {
            Some(job) => Deferred {
                forks: state.balance(&self.policy),
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

    /// Called when an alarm of a task has gone off: its time is up, or its grace is over.
    pub(in crate::process) fn look_at(self: &Arc<Dispatcher>, task: &Record) {
        let mut state = self.lock();
        match state.post_of(task) {
            Some(post) if post.is_stopped(task.id()) => {
                let id = post.link.id;
                state.end_grace(id, Instant::now());
                state.employ_idle(&self.policy);
                self.arm(&mut state);
            }
            _ => {
                drop(state);
                self.stop(task, Cause::TimedOut);
            }
        }
    }

    /// Returns the workers whose replies count if they came before [`look`](Dispatcher::look), which
    /// checks the limits of their tasks.
    pub(in crate::process) fn limited_links(&self) -> Vec<Arc<WorkerLink>> {
        if self.policy.limit.is_none() {
            return Vec::new();
        }
        self.lock().posts.values().map(|post| Arc::clone(&post.link)).collect()
    }

    /// Called when the dispatcher's own alarm has gone off, after the replies of
    /// [`limited_links`](Dispatcher::limited_links) were taken.
    pub(in crate::process) fn look(self: &Arc<Dispatcher>) {
        let Some(service) = self.service() else { return };
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(armed) = state.armed.take() {
            // Mostly it is the one that has gone off.
            service.unset_pool_alarm(armed, Arc::as_ptr(self));
        }
        while let Some(job) = state.delayed.pop(now) {
            state.held = None;
            state.queue.push_front(job);
        }
        state.employ_idle(&self.policy);
        state.look_at_limits(now, &self.policy);
        state.look_at_workers(now, &self.policy);
        let next = state.delayed.first();
        next.into_iter().for_each(|at| state.wish(at));
        let forks = state.balance(&self.policy);
        self.arm(&mut state);
        drop(state);
        self.request_forks(forks);
    }

    /// Sets the alarms of tasks that were noted, and the dispatcher's own for the first moment that
    /// was wished for.
    fn arm(self: &Arc<Dispatcher>, state: &mut State) {
        if (state.wish.is_some() || !state.alarms.is_empty())
            && let Some(service) = self.service()
        {
            self.set_alarms(state, service);
        }
    }

    fn set_alarms(self: &Arc<Dispatcher>, state: &mut State, service: &Service) {
        for (at, task) in state.alarms.drain(..) {
            service.set_task_alarm(at, self, task);
        }
        let Some(at) = state.wish.take() else { return };
        if state.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        if let Some(later) = state.armed.replace(at) {
            service.unset_pool_alarm(later, Arc::as_ptr(self));
        }
        service.set_pool_alarm(at, self);
    }

    /// Takes back a fork that was asked for and that nobody needs any more: its task was cancelled, or
    /// the dispatcher is closed.
    pub(in crate::process) fn withdraw(&self) -> bool {
        let mut state = self.lock();
        if !state.cancel_fork(&self.policy) {
            return false;
        }
        let wake = state.take_watcher();
        drop(state);
        wake.into_iter().for_each(Waker::wake);
        true
    }

    /// Takes no more tasks; workers end when there are none left.
    pub(super) fn close(self: &Arc<Dispatcher>) {
        let mut state = self.lock();
        state.closing = true;
        // In a process that was forked from the service's, the workers are the other's.
        if let Some(service) = self.service() {
            state.dismiss_idle();
            self.arm(&mut state);
            drop(state);
            service.retire(self);
        }
    }

    /// Takes no more tasks, and ends those that there are: those at work have this long to do so, then all workers
    /// are killed.
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

    /// Whether a closed dispatcher has nobody and nothing any more; it stays so.
    pub(in crate::process) fn is_gone(&self) -> bool {
        self.lock().is_gone()
    }

    /// Whether the worker was told to end.
    pub(in crate::process) fn has_dismissed(&self, id: u64) -> bool {
        self.lock().posts.get(&id).is_some_and(|post| post.dismissed)
    }

    /// Waits until the last worker of a closed dispatcher is gone.
    pub(super) fn wait_until_gone(&self) {
        // Where there is no service nobody would ever tell.
        if self.service().is_none() {
            return;
        }
        let waker = park::waker();
        loop {
            let mut state = self.lock();
            if state.is_gone() {
                return;
            }
            state.watcher = Some(waker.clone());
            drop(state);
            wait::or_unwind(None);
        }
    }

    /// The process ids of the workers that can take tasks or have one.
    pub(super) fn pids(&self) -> Vec<u32> {
        let state = self.lock();
        state.posts.values().filter(|post| !post.dismissed).map(|post| post.link.pid).collect()
    }

    pub(super) fn stats(&self) -> PoolStats {
        let now = self.lock().stats();
        self.counts.enter(now)
    }

    /// The worker with this number.
    pub(super) fn link(&self, id: u64) -> Option<Arc<WorkerLink>> {
        self.lock().posts.get(&id).map(|post| Arc::clone(&post.link))
    }

    /// Whether its workers are kept, and have shared memory.
    pub(in crate::process) fn has_rings(&self) -> bool {
        !self.policy.is_fresh()
    }

    /// A worker was forked.
    pub(in crate::process) fn joined(
        self: &Arc<Dispatcher>,
        link: Arc<WorkerLink>,
        tasks: Option<Producer>,
    ) {
        self.counts.started.fetch_add(1, Relaxed);
        let mut state = self.lock();
        state.coming -= 1;
        let id = link.id;
        let mut post = WorkerState::new(link, tasks);
        post.ready_by = self.policy.start.and_then(|start| Instant::now().checked_add(start));
        post.ready_by.into_iter().for_each(|at| state.wish(at));
        if let Some(setup) = &self.setup {
            post.send(Arc::clone(setup));
        }
        state.posts.insert(id, post);
        state.employ(id, &self.policy);
        if let Some(at) = state.end_at {
            state.wish(at);
        }
        self.arm(&mut state);
    }

    /// A worker can take tasks, and has none: it takes over those of one that cannot yet.
    pub(in crate::process) fn is_ready(self: &Arc<Dispatcher>, link: &WorkerLink) {
        let mut state = self.lock();
        if state.wake(link.id) {
            state.employ(link.id, &self.policy);
            self.arm(&mut state);
        }
    }

    /// A fork was refused. The dispatcher goes on with what it has; with nothing, its tasks fail.
    pub(in crate::process) fn refused(self: &Arc<Dispatcher>, reason: String) {
        let mut state = self.lock();
        state.coming -= 1;
        state.held = Some(reason);
        let failed = state.give_up_if_alone();
        let wake = state.take_watcher();
        drop(state);
        self.carry_out(Deferred { failed, wake, ..Deferred::default() });
    }

    /// Takes the answers of a worker, which gets more to do unless it is known to be dead. Says what is wrong with
    /// them, if no worker of ours would send that; what came before counts.
    pub(super) fn answered<'a>(
        self: &Arc<Dispatcher>,
        link: &WorkerLink,
        answers: impl Iterator<Item = Received<'a>>,
        dead: bool,
    ) -> (Ended, Option<String>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut ended = Ended::default();
        let Some(post) = state.posts.get_mut(&link.id) else { return (ended, None) };
        let (mut wrong, mut pace) = (None, state.pace);
        for answer in answers {
            match post.answered(answer, &mut pace) {
                Ok(None) => {}
                Ok(Some(end)) => ended.ends.push(end),
                Err(reason) => {
                    wrong = Some(reason);
                    break;
                }
            }
        }
        let is_done = self.policy.is_fresh() && post.jobs.is_empty();
        if dead || wrong.is_some() || post.dismissed || post.hung_up {
            // Its death follows.
        } else if is_done {
            state.dismiss(link.id);
        } else {
            state.pace = pace;
            state.employ(link.id, &self.policy);
            if state.post(link.id).dismissed {
                ended.forks = state.balance(&self.policy);
            }
        }
        self.arm(state);
        (ended, wrong)
    }

    /// There is room to write to a worker.
    pub(in crate::process) fn room(&self, id: u64) {
        if let Some(post) = self.lock().posts.get_mut(&id) {
            post.flush();
        }
    }

    /// Some time has passed: a worker that has been at its first task for long is asked whether it is.
    pub(in crate::process) fn probe(&self, id: u64) {
        if let Some(post) = self.lock().posts.get_mut(&id).filter(|post| !post.dismissed) {
            post.ask_after();
        }
    }

    /// Whether the worker still has this task as its first.
    pub(in crate::process) fn is_first(&self, id: u64, task: u64) -> bool {
        let state = self.lock();
        state.posts.get(&id).and_then(|post| post.jobs.front()).is_some_and(|job| job.id() == task)
    }

    /// A worker has closed its connection: it is dying, or is ended soon. What it has not begun goes to others.
    pub(in crate::process) fn hung_up(self: &Arc<Dispatcher>, id: u64) {
        let mut state = self.lock();
        let Some(post) = state.posts.get_mut(&id) else { return };
        post.hung_up = true;
        post.idle = false;
        let back = post.withdraw_all();
        state.idle.retain(|idle| *idle != id);
        back.into_iter().for_each(|job| state.queue.push_front(job));
        state.employ_idle(&self.policy);
        self.arm(&mut state);
    }

    /// A worker is gone, and was waited for. A task that it had begun ends with `cause`, or is run again; those that
    /// it had not begun go to other workers.
    pub(in crate::process) fn died(self: &Arc<Dispatcher>, id: u64, was_ready: bool, cause: Cause) {
        let mut state = self.lock();
        let Some(mut post) = state.remove(id) else { return };
        self.counts.lost.fetch_add(u64::from(!post.dismissed || post.killed), Relaxed);
        if was_ready {
            state.failed_starts = 0;
            state.held = None;
        } else if !post.dismissed && !post.jobs.iter().any(Job::is_stopped) {
            match &cause {
                Cause::NotSpawned { reason } => state.failed_starts(reason),
                cause => state.failed_starts(&cause.to_string()),
            }
        }
        let mut failed = Vec::new();
        let begun = post.begun();
        let has_begun_one = post.jobs.iter().any(|job| job.id() == begun.task);
        for (index, mut job) in std::mem::take(&mut post.jobs).into_iter().enumerate().rev() {
            // Only the first one can have had a part in it, and only if it could have begun.
            let item = (job.id() == begun.task).then_some(begun.item);
            let is_first = index == 0 && !has_begun_one && was_ready;
            if item.is_some() {
                job.printed = post.link.printed().map(Box::new);
            }
            match job.died_with_worker(item, is_first, &cause, self.policy.retries) {
                Fate::Ends(cause) => {
                    job.keep_progress(post.link.slot.progress(job.id()));
                    failed.push((job, cause));
                }
                Fate::Goes => {
                    job.taken_back();
                    state.queue.push_front(job);
                }
                Fate::RunsAgain(attempt) => {
                    job.taken_back();
                    self.counts.retried.fetch_add(1, Relaxed);
                    let at = Instant::now().checked_add(self.policy.pause_before(attempt));
                    at.into_iter().for_each(|at| state.wish(at));
                    state.delayed.put(at, job);
                }
            }
        }
        failed.append(&mut state.give_up_if_alone());
        let forks = state.balance(&self.policy);
        state.employ_idle(&self.policy);
        self.arm(&mut state);
        let wake = state.take_watcher();
        // Before anybody learns of the death: its descriptors are closed, its slot is free.
        drop(post);
        drop(state);
        self.carry_out(Deferred { forks, failed, wake, ..Deferred::default() });
    }

    /// Nothing under this lock can panic half way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
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
