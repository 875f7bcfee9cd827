//! The workers of one pool and the tasks that wait for them: who gets what, and when to fork.
//!
//! All decisions are taken under one lock by short functions that only look and move (the [`State`]'s); what has to
//! happen outside (forks to ask for, tasks to end) they leave in a [`Deferred`].
//!
//! What depends on time alone (limits of tasks, workers that rest for long, retries) has one alarm for the whole
//! dispatcher, at the first such moment: then all of it is [looked at](Dispatcher::look). So a task with a limit costs no alarm.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::deferred::{Deferred, Ended, Received};
use super::link::WorkerLink;
use super::policy::Policy;
use super::state::State;
use super::stats::{Counts, PoolStats};
use super::worker::WorkerState;
use crate::process::service::alarms::{Key, Whom};
use crate::process::service::template::TemplateSpec;
use crate::process::service::{self, Service};
use crate::process::task::job::{Fate, Job};
use crate::process::task::record::{Answer, Record};
use crate::process::wire::ring::Producer;
use crate::process::wire::{self, FrameKind};
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
    state: Mutex<State>,
}

impl Dispatcher {
    pub(in crate::process) fn new(mut policy: Policy, setup: &Setup) -> Arc<Dispatcher> {
        policy.captures = setup.captures;
        let setup =
            (*setup != Setup::default()).then(|| Arc::new(wire::frame(FrameKind::Setup, 0, setup)));
        let room = policy.queue.map(|queue| {
            Semaphore::new(policy.most().saturating_add(queue).min(Semaphore::MAX_PERMITS))
        });
        let state = Mutex::new(State::new(policy.grace));
        Arc::new(Dispatcher { policy, setup, room, counts: Counts::default(), state })
    }

    /// What its workers are forked from.
    pub(in crate::process) fn origin(&self) -> &Arc<TemplateSpec> {
        &self.policy.origin
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
    pub(in crate::process) fn limit(&self) -> Option<Duration> {
        self.policy.limit
    }

    /// Whether each task has to cross by itself: it has a limit, a process or words of its own.
    pub(in crate::process) fn takes_single_tasks_only(&self) -> bool {
        self.policy.limit.is_some() || self.policy.is_fresh() || self.policy.captures
    }

    /// Waits until there is room for another task. The permit is given back with the task, once it is submitted.
    pub(in crate::process) fn admit(&self) -> Option<SemaphorePermit<'_>> {
        self.room.as_ref().map(Semaphore::acquire)
    }

    /// As `admit`, but does not wait.
    ///
    /// # Errors
    ///
    /// There is no room.
    pub(in crate::process) fn try_admit(&self) -> Result<Option<SemaphorePermit<'_>>, ()> {
        self.room.as_ref().map(|room| room.try_acquire().ok_or(())).transpose()
    }

    /// A task that was submitted is about to end so.
    pub(in crate::process) fn note_end(&self, result: &Result<Answer, TaskError>) {
        self.counts.ended(result);
        if let Some(room) = &self.room {
            room.add_permits(1);
        }
    }

    /// Takes a task on that was admitted; it ends some time, whatever happens.
    pub(in crate::process) fn submit(self: &Arc<Dispatcher>, job: Job) {
        job.submitted_to(self);
        let unfit = self.policy.unfit.clone();
        match unfit.map_or_else(service::get, Err) {
            Ok(_) if job.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                job.fail(Cause::TimedOut);
            }
            Ok(service) => {
                let mut state = self.lock();
                job.watch_deadline(service);
                state.held = None;
                state.queue.push_back(job);
                if let Some(id) = state.idle.pop() {
                    state.post(id).idle = false;
                    state.employ(id, &self.policy);
                }
                let forks = state.balance(&self.policy);
                self.arm(&mut state, service);
                drop(state);
                service.ask_for_forks(self, forks);
            }
            Err(reason) => job.fail(Cause::NotSpawned { reason }),
        }
    }

    /// Asks for the workers that the plan wants before there is work.
    pub(in crate::process) fn start(self: &Arc<Dispatcher>) {
        // What is in the way is said to each task.
        if self.policy.unfit.is_none()
            && let Ok(service) = service::get()
        {
            let forks = self.lock().balance(&self.policy);
            service.ask_for_forks(self, forks);
        }
    }

    /// Sets how long a worker may go on with a task that was asked to end.
    pub(in crate::process) fn set_grace(&self, grace: Duration) {
        self.lock().grace = grace;
    }

    /// Asks a task to end with `cause`: in the queue it does so at once; at a worker it has the
    /// grace to do so. One that has left the dispatcher stays as it is.
    pub(in crate::process) fn stop(self: &Arc<Dispatcher>, task: &Record, cause: Cause) {
        let Ok(service) = service::get() else { return };
        let mut state = self.lock();
        let todo = match state.take(task, &self.policy) {
            Some(job) => Deferred {
                forks: state.balance(&self.policy),
                failed: vec![(job, cause)],
                wake: state.take_watcher(),
                leaving: state.closing,
            },
            None => {
                let grace = state.grace;
                if let Some(post) = state.post_of(task) {
                    post.stop(task.id(), cause, grace, service);
                }
                Deferred::default()
            }
        };
        self.arm(&mut state, service);
        drop(state);
        todo.carry_out(self, service);
    }

    /// An alarm of a task has gone off: its time is up, or its grace is over.
    pub(in crate::process) fn look_at(self: &Arc<Dispatcher>, task: &Record) {
        let mut state = self.lock();
        match state.post_of(task) {
            Some(post) if post.is_stopped(task.id()) => {
                let id = post.link.id;
                let Ok(service) = service::get() else { return };
                state.end_grace(id, Instant::now(), service);
                state.employ_idle(&self.policy);
                self.arm(&mut state, service);
            }
            _ => {
                drop(state);
                self.stop(task, Cause::TimedOut);
            }
        }
    }

    /// The dispatcher's own alarm has gone off.
    pub(in crate::process) fn look(self: &Arc<Dispatcher>) {
        let Ok(service) = service::get() else { return };
        if self.policy.limit.is_some() {
            // What has come in time counts.
            let links: Vec<_> =
                self.lock().posts.values().map(|post| Arc::clone(&post.link)).collect();
            for link in links {
                while link.hear(self) > 0 {}
            }
        }
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(armed) = state.armed.take() {
            // Mostly it is the one that has gone off.
            service.unset_alarm(armed, Key::of(Arc::as_ptr(self)));
        }
        while let Some(job) = state.delayed.pop(now) {
            state.held = None;
            state.queue.push_front(job);
        }
        state.employ_idle(&self.policy);
        state.look_at_limits(now, &self.policy, service);
        state.look_at_workers(now, &self.policy);
        let next = state.delayed.first();
        next.into_iter().for_each(|at| state.wish(at));
        let forks = state.balance(&self.policy);
        self.arm(&mut state, service);
        drop(state);
        service.ask_for_forks(self, forks);
    }

    /// Sets the dispatcher's alarm to the first moment that was wished for.
    fn arm(self: &Arc<Dispatcher>, state: &mut State, service: &Service) {
        let Some(at) = state.wish.take() else { return };
        if state.armed.is_some_and(|armed| armed <= at) {
            return;
        }
        if let Some(later) = state.armed.replace(at) {
            service.unset_alarm(later, Key::of(Arc::as_ptr(self)));
        }
        service.set_alarm(at, Whom::Dispatcher(Arc::downgrade(self)));
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
    pub(in crate::process) fn close(self: &Arc<Dispatcher>) {
        let mut state = self.lock();
        state.closing = true;
        // In a process that was forked from the service's, the workers are the other's.
        if let Ok(service) = service::get() {
            state.dismiss_idle();
            self.arm(&mut state, service);
            drop(state);
            service.retire(self);
        }
    }

    /// Takes no more tasks, and ends those that there are: those at work have this long to do so, then all workers
    /// are killed.
    pub(in crate::process) fn end(self: &Arc<Dispatcher>, within: Duration) {
        let Ok(service) = service::get() else { return self.close() };
        let cause = Cause::Cancelled { reason: Some("its pool was stopped".into()) };
        let mut state = self.lock();
        state.closing = true;
        let waiting = state.end(&cause, within, service);
        let failed = waiting.into_iter().map(|job| (job, cause.clone())).collect();
        self.arm(&mut state, service);
        drop(state);
        Deferred { failed, leaving: true, ..Deferred::default() }.carry_out(self, service);
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
    pub(in crate::process) fn wait_until_gone(&self) {
        // Where there is no service nobody would ever tell.
        if service::get().is_err() {
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
    pub(in crate::process) fn pids(&self) -> Vec<u32> {
        let state = self.lock();
        state.posts.values().filter(|post| !post.dismissed).map(|post| post.link.pid).collect()
    }

    pub(in crate::process) fn stats(&self) -> PoolStats {
        let now = self.lock().stats();
        self.counts.enter(now)
    }

    /// The worker with this number.
    pub(in crate::process) fn link(&self, id: u64) -> Option<Arc<WorkerLink>> {
        self.lock().posts.get(&id).map(|post| Arc::clone(&post.link))
    }

    /// Whether its workers are kept, and have shared memory.
    pub(in crate::process) fn has_lines(&self) -> bool {
        !self.policy.is_fresh()
    }

    /// A worker was forked.
    pub(in crate::process) fn joined(
        self: &Arc<Dispatcher>,
        link: Arc<WorkerLink>,
        tasks: Option<Producer>,
    ) {
        self.counts.started.fetch_add(1, Relaxed);
        let service = Arc::clone(&link.service);
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
        self.arm(&mut state, &service);
    }

    /// A worker can take tasks, and has none: it takes over those of one that cannot yet.
    pub(in crate::process) fn is_ready(self: &Arc<Dispatcher>, link: &WorkerLink) {
        let mut state = self.lock();
        if state.wake(link.id) {
            state.employ(link.id, &self.policy);
            self.arm(&mut state, &link.service);
        }
    }

    /// A fork was refused. The dispatcher goes on with what it has; with nothing, its tasks fail.
    pub(in crate::process) fn refused(&self, reason: String) -> Deferred {
        let mut state = self.lock();
        state.coming -= 1;
        state.held = Some(reason);
        let failed = state.give_up_if_alone();
        Deferred { failed, wake: state.take_watcher(), ..Deferred::default() }
    }

    /// Takes the answers of a worker, which gets more to do unless it is known to be dead. Says what is wrong with
    /// them, if no worker of ours would send that; what came before counts.
    pub(in crate::process) fn answered<'a>(
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
        self.arm(state, &link.service);
        (ended, wrong)
    }

    /// There is room to write to a worker.
    pub(in crate::process) fn room(&self, id: u64) {
        if let Some(post) = self.lock().posts.get_mut(&id) {
            post.flush();
        }
    }

    /// Some time has passed: a worker that has been at its first task for long is asked whether it is.
    pub(in crate::process) fn ask_after(&self, id: u64) {
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
        let service = Arc::clone(&post.link.service);
        post.hung_up = true;
        post.idle = false;
        let back = post.withdraw_all();
        state.idle.retain(|idle| *idle != id);
        back.into_iter().for_each(|job| state.queue.push_front(job));
        state.employ_idle(&self.policy);
        self.arm(&mut state, &service);
    }

    /// A worker is gone, and was waited for. A task that it had begun ends with `cause`, or is run again; those that
    /// it had not begun go to other workers.
    pub(in crate::process) fn died(
        self: &Arc<Dispatcher>,
        id: u64,
        was_ready: bool,
        cause: Cause,
    ) -> Deferred {
        let mut state = self.lock();
        let Some(mut post) = state.remove(id) else { return Deferred::default() };
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
                    job.keep_progress(&post.link);
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
        self.arm(&mut state, &post.link.service);
        Deferred { forks, failed, wake: state.take_watcher(), ..Deferred::default() }
    }

    /// Nothing under this lock can panic half way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        let armed = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).armed;
        if let (Some(armed), Ok(service)) = (armed, service::get()) {
            service.unset_alarm(armed, Key::of(self));
        }
    }
}
