//! The workers of one pool and the tasks that wait for them: who gets what, and when to fork.
//!
//! All decisions are taken under one lock by short functions that only look and move; what has to
//! happen outside (forks to ask for, tasks to end) they leave in a [`Todo`].
//!
//! A task is in one of three places: in `queue`, among the `jobs` of one post, or ended. A worker is on
//! the way (`coming`), at a post, or gone.
//!
//! A worker is given more tasks than the one that it runs, as many as it does in about [`AHEAD`]: else it would
//! wait for its master after each of them. That keeps nobody waiting behind a long one: a worker that has
//! nothing left takes back what another one has not begun.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::job::{Answer, Job, Record};
use super::lineage::Origin;
use super::link::{Link, Post};
use super::policy::{Plan, Policy};
use super::queue::Queue;
use super::ring::Producer;
use super::service::{self, Service};
use super::setup::Setup;
use super::wire::{self, FrameKind, Head};
use crate::task::{Cause, TaskError, park};

/// After how many workers in a row that died before they were ready no more are forked.
const MOST_STILLBORN: u32 = 3;

/// How much work a worker is given ahead, in time.
const AHEAD: Duration = Duration::from_micros(200);
/// Most tasks that a worker is given ahead.
const MOST_AHEAD: u64 = 256;

pub(super) struct Crew {
    plan: Plan,
    /// What its workers are forked from.
    origin: Arc<Origin>,
    /// A `SETUP` frame for each worker.
    setup: Option<Arc<Vec<u8>>>,
    /// Whether what its workers print is captured.
    pub(super) captures: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Tasks that no worker has, in order.
    queue: Queue,
    /// Workers, by the number of their link.
    posts: HashMap<u64, Post>,
    /// Those without a task, the one used last at the end.
    idle: Vec<u64>,
    /// What a task takes its worker, in nanoseconds: an average in which the last ones count most.
    pace: u64,
    /// Forks asked for and not answered.
    coming: usize,
    /// How long a worker may go on with a task that was asked to end.
    grace: Duration,
    /// What workers print is captured: each has one task at a time, so that it is known whose it is.
    captures: bool,
    /// No more tasks will be submitted.
    closing: bool,
    /// Why no more forks are asked for, until something has changed.
    held: Option<String>,
    /// Workers in a row that died before they were ready.
    stillborn: u32,
    /// Who waits for the last worker to be gone.
    watcher: Option<Waker>,
}

/// What is left to do when the lock is given back.
#[must_use]
#[derive(Default)]
pub(super) struct Todo {
    forks: usize,
    failed: Vec<(Job, Cause)>,
    wake: Option<Waker>,
    /// A closed crew needs fewer workers than before.
    leaving: bool,
}

/// An answer of a worker, as it came.
pub(super) struct Received<'a> {
    pub(super) head: Head,
    pub(super) body: &'a [u8],
    pub(super) descriptors: Vec<OwnedFd>,
}

/// A task, and what it ends with.
pub(super) type End = (Job, Result<Answer, TaskError>);

/// Tasks that have come to their end, to be told when the lock is given back.
#[must_use]
#[derive(Default)]
pub(super) struct Ended(Vec<End>);

impl Ended {
    pub(super) fn settle(self) {
        for (job, result) in self.0 {
            job.settle(result);
        }
    }
}

impl Crew {
    pub(super) fn new(policy: Policy, setup: &Setup) -> Arc<Crew> {
        let captures = setup.captures;
        let setup =
            (*setup != Setup::default()).then(|| Arc::new(wire::frame(FrameKind::Setup, 0, setup)));
        let Policy { plan, origin, grace } = policy;
        let state = Mutex::new(State { grace, captures, ..State::default() });
        Arc::new(Crew { plan, origin, setup, captures, state })
    }

    /// What its workers are forked from.
    pub(super) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// The `SETUP` frame that its workers await before they are ready.
    pub(super) fn setup(&self) -> Option<&Arc<Vec<u8>>> {
        self.setup.as_ref()
    }

    /// Takes a task on; it ends some time, whatever happens.
    pub(super) fn submit(self: &Arc<Crew>, job: Job) {
        match service::get() {
            Ok(_) if job.deadline.is_some_and(|deadline| deadline <= Instant::now()) => {
                job.fail(Cause::TimedOut);
            }
            Ok(service) => {
                job.submitted_to(self);
                let mut state = self.lock();
                job.watch_deadline(service);
                state.held = None;
                state.queue.push_back(job);
                if let Some(id) = state.idle.pop() {
                    state.post(id).idle = false;
                    state.employ(id, self.plan);
                }
                let todo = state.balance(self.plan);
                drop(state);
                todo.carry_out(self, service);
            }
            Err(reason) => job.fail(Cause::NotSpawned { reason }),
        }
    }

    /// Asks for the workers that the plan wants before there is work.
    pub(super) fn start(self: &Arc<Crew>) {
        // A service that cannot start says so to each task.
        if let Ok(service) = service::get() {
            let todo = self.lock().balance(self.plan);
            todo.carry_out(self, service);
        }
    }

    /// Sets how long a worker may go on with a task that was asked to end.
    pub(super) fn set_grace(&self, grace: Duration) {
        self.lock().grace = grace;
    }

    /// Asks a task to end with `cause`: in the queue it does so at once; at a worker it has the
    /// grace to do so. One that has left the crew stays as it is.
    pub(super) fn stop(self: &Arc<Crew>, task: &Record, cause: Cause) {
        let Ok(service) = service::get() else { return };
        let mut state = self.lock();
        let waiting = state.queue.take(task).or_else(|| state.withdraw(task, self.plan));
        let todo = match waiting {
            Some(job) => {
                let wake = if state.is_gone() { state.watcher.take() } else { None };
                Todo { failed: vec![(job, cause)], wake, leaving: state.closing, ..Todo::default() }
            }
            None => {
                let grace = state.grace;
                if let Some(post) = state.post_of(task) {
                    post.stop(task.id(), cause, grace, service);
                }
                Todo::default()
            }
        };
        drop(state);
        todo.carry_out(self, service);
    }

    /// An alarm of a task has gone off: its time is up, or its grace is over.
    pub(super) fn look_at(self: &Arc<Crew>, task: &Record) {
        let mut state = self.lock();
        match state.post_of(task) {
            Some(post) if post.is_stopped(task.id()) => {
                post.kill_if_due(Instant::now());
            }
            _ => {
                drop(state);
                self.stop(task, Cause::TimedOut);
            }
        }
    }

    /// Takes back a fork that was asked for and that nobody needs any more: its task was cancelled, or
    /// the crew is closed.
    pub(super) fn withdraw(&self) -> bool {
        let mut state = self.lock();
        let kept = matches!(self.plan, Plan::Kept(_)) && !state.closing;
        if kept || state.coming <= state.queue.len() {
            return false;
        }
        state.coming -= 1;
        let wake = if state.is_gone() { state.watcher.take() } else { None };
        drop(state);
        wake.into_iter().for_each(Waker::wake);
        true
    }

    /// Takes no more tasks; workers end when there are none left.
    pub(super) fn close(self: &Arc<Crew>) {
        let mut state = self.lock();
        state.closing = true;
        for id in std::mem::take(&mut state.idle) {
            let post = state.post(id);
            post.idle = false;
            post.dismiss();
        }
        drop(state);
        if let Ok(service) = service::get() {
            service.see_off(self);
        }
    }

    /// Whether a closed crew has nobody and nothing any more; it stays so.
    pub(super) fn is_gone(&self) -> bool {
        self.lock().is_gone()
    }

    /// Whether the worker was told to end.
    pub(super) fn has_dismissed(&self, id: u64) -> bool {
        self.lock().posts.get(&id).is_some_and(|post| post.dismissed)
    }

    /// Waits until the last worker of a closed crew is gone.
    pub(super) fn wait_until_gone(&self) {
        let waker = park::waker();
        loop {
            let mut state = self.lock();
            if state.is_gone() {
                return;
            }
            state.watcher = Some(waker.clone());
            drop(state);
            park::wait_or_unwind(None);
        }
    }

    /// The process ids of the workers that can take tasks or have one.
    pub(super) fn pids(&self) -> Vec<u32> {
        let state = self.lock();
        state.posts.values().filter(|post| !post.dismissed).map(|post| post.link.pid).collect()
    }

    /// The worker with this number.
    pub(super) fn link(&self, id: u64) -> Option<Arc<Link>> {
        self.lock().posts.get(&id).map(|post| Arc::clone(&post.link))
    }

    /// Whether its workers are kept, and have shared memory.
    pub(super) fn has_lines(&self) -> bool {
        matches!(self.plan, Plan::Kept(_))
    }

    /// A worker was forked.
    pub(super) fn joined(&self, link: Arc<Link>, tasks: Option<Producer>) {
        let mut state = self.lock();
        state.coming -= 1;
        let id = link.id;
        let mut post = Post::new(link, tasks);
        if let Some(setup) = &self.setup {
            post.send(Arc::clone(setup));
        }
        state.posts.insert(id, post);
        state.employ(id, self.plan);
    }

    /// A fork was refused. The crew goes on with what it has; with nothing, its tasks fail.
    pub(super) fn refused(&self, reason: String) -> Todo {
        let mut state = self.lock();
        state.coming -= 1;
        state.held = Some(reason);
        state.give_up_if_alone()
    }

    /// Takes the answers of a worker, which gets more to do unless it is known to be dead. Says what is wrong with
    /// them, if no worker of ours would send that; what came before counts.
    pub(super) fn answered<'a>(
        &self,
        link: &Link,
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
                Ok(Some(end)) => ended.0.push(end),
                Err(reason) => {
                    wrong = Some(reason);
                    break;
                }
            }
        }
        let is_fresh = matches!(self.plan, Plan::Fresh(_)) && post.jobs.is_empty();
        if dead || wrong.is_some() || post.dismissed || post.hung_up {
            // Its death follows.
        } else if is_fresh {
            post.dismiss();
        } else {
            state.pace = pace;
            state.employ(link.id, self.plan);
        }
        (ended, wrong)
    }

    /// There is room to write to a worker.
    pub(super) fn room(&self, id: u64) {
        if let Some(post) = self.lock().posts.get_mut(&id) {
            post.flush();
        }
    }

    /// Some time has passed: a worker that has been at its first task for long is asked whether it is.
    pub(super) fn ask_after(&self, id: u64) {
        if let Some(post) = self.lock().posts.get_mut(&id).filter(|post| !post.dismissed) {
            post.ask_after();
        }
    }

    /// Whether the worker still has this task as its first.
    pub(super) fn is_first(&self, id: u64, task: u64) -> bool {
        let state = self.lock();
        state.posts.get(&id).and_then(|post| post.jobs.front()).is_some_and(|job| job.id() == task)
    }

    /// A worker has closed its connection: it is dying, or is ended soon. What it has not begun goes to others.
    pub(super) fn hung_up(&self, id: u64) {
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(post) = state.posts.get_mut(&id) else { return };
        post.hung_up = true;
        post.idle = false;
        state.idle.retain(|idle| *idle != id);
        post.withdraw_all().into_iter().for_each(|job| state.queue.push_front(job));
        state.employ_idle(self.plan);
    }

    /// A worker is gone, and was waited for. A task that it had begun ends with `cause`; those that it had
    /// not go to other workers.
    pub(super) fn died(&self, id: u64, was_ready: bool, cause: Cause) -> Todo {
        let mut state = self.lock();
        let Some(mut post) = state.posts.remove(&id) else { return Todo::default() };
        state.idle.retain(|idle| *idle != id);
        if was_ready {
            state.stillborn = 0;
            state.held = None;
        } else if !post.dismissed && !post.jobs.iter().any(Job::is_stopped) {
            state.stillborn += 1;
            if state.stillborn >= MOST_STILLBORN {
                state.stillborn = 0;
                let known = match &cause {
                    Cause::NotSpawned { reason } => reason.clone(),
                    cause => cause.to_string(),
                };
                state.held = Some(format!(
                    "{MOST_STILLBORN} workers in a row died before they could take a task; of the \
                     last one is known: {known}"
                ));
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
                job.printed = post.link.printed();
            }
            match job.died_with_worker(item, is_first, &cause) {
                Some(cause) => failed.push((job, cause)),
                None => {
                    job.taken_back();
                    state.queue.push_front(job);
                }
            }
        }
        let mut todo = state.give_up_if_alone();
        todo.failed.append(&mut failed);
        todo.forks = state.balance(self.plan).forks;
        state.employ_idle(self.plan);
        if state.is_gone() {
            todo.wake = state.watcher.take();
        }
        todo
    }

    /// Nothing under this lock can panic half way through a change.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn post(&mut self, id: u64) -> &mut Post {
        self.posts.get_mut(&id).expect("an idle worker is at its post")
    }

    /// The worker that has the task.
    fn post_of(&mut self, task: &Record) -> Option<&mut Post> {
        self.posts.get_mut(&task.post()).filter(|post| post.has(task.id()))
    }

    /// Takes a task back from a worker that has not begun it.
    fn withdraw(&mut self, task: &Record, plan: Plan) -> Option<Job> {
        let id = task.post();
        let job = self.post_of(task)?.withdraw(task.id())?;
        let post = self.post(id);
        if !post.dismissed && !post.hung_up {
            self.employ(id, plan);
        }
        Some(job)
    }

    /// Gives a worker tasks, or lets it rest or go if there are none.
    fn employ(&mut self, id: u64, plan: Plan) {
        let ahead = self.ahead(plan);
        let share = self.queue.len() / self.posts.len().max(1) + 1;
        let post = self.posts.get_mut(&id).expect("its caller has seen it at its post");
        let most = ahead.min(post.jobs.len() + share);
        while post.jobs.len() < most
            && let Some(job) = self.queue.pop_front()
        {
            if let Some(job) = post.hand(job) {
                self.queue.push_front(job);
                break;
            }
        }
        if post.jobs.is_empty() && !post.idle && !self.relieve(id) {
            let keep = matches!(plan, Plan::Kept(_)) && !self.closing;
            let post = self.post(id);
            post.idle = keep;
            if keep {
                self.idle.push(id);
            } else {
                post.dismiss();
            }
        }
    }

    /// How many tasks a worker may have.
    fn ahead(&self, plan: Plan) -> usize {
        match plan {
            Plan::Fresh(_) => 1,
            Plan::Kept(_) if self.captures => 1,
            Plan::Kept(_) => {
                let count = AHEAD.as_nanos() as u64 / self.pace.max(1);
                1 + count.clamp(1, MOST_AHEAD) as usize
            }
        }
    }

    /// Gives a worker that has nothing half of what another one has not begun; `false` if there is nothing.
    fn relieve(&mut self, id: u64) -> bool {
        let busiest = self.posts.values_mut().max_by_key(|post| post.jobs.len());
        let Some(busiest) = busiest.filter(|post| post.jobs.len() > 1) else { return false };
        let mut moved: Vec<Job> = Vec::new();
        for _ in 0..busiest.jobs.len() / 2 {
            moved.extend(busiest.withdraw_last());
        }
        let post = self.post(id);
        while let Some(job) = moved.pop() {
            if let Some(job) = post.hand(job) {
                moved.push(job);
                break;
            }
        }
        moved.into_iter().for_each(|job| self.queue.push_front(job));
        !self.post(id).jobs.is_empty()
    }

    /// Gives resting workers what has come back into the queue.
    fn employ_idle(&mut self, plan: Plan) {
        while !self.queue.is_empty()
            && let Some(id) = self.idle.pop()
        {
            self.post(id).idle = false;
            self.employ(id, plan);
        }
    }

    /// Counts the forks to ask for now, as asked for.
    fn balance(&mut self, plan: Plan) -> Todo {
        let (Plan::Kept(most) | Plan::Fresh(most)) = plan;
        let room = most.saturating_sub(self.posts.len() + self.coming);
        let forks = match plan {
            _ if self.held.is_some() => 0,
            Plan::Kept(_) if !self.closing => room,
            _ => room.min(self.queue.len().saturating_sub(self.coming)),
        };
        self.coming += forks;
        Todo { forks, ..Todo::default() }
    }

    /// With no worker there or on the way and no hope for one, nobody would ever run the queue.
    fn give_up_if_alone(&mut self) -> Todo {
        let mut todo = Todo::default();
        if self.posts.is_empty()
            && self.coming == 0
            && let Some(reason) = &self.held
        {
            let cause = Cause::NotSpawned { reason: reason.clone() };
            todo.failed = self.queue.drain().map(|job| (job, cause.clone())).collect();
            if self.closing {
                todo.wake = self.watcher.take();
            }
        }
        todo
    }

    fn is_gone(&self) -> bool {
        self.closing && self.posts.is_empty() && self.coming == 0 && self.queue.is_empty()
    }
}

impl Todo {
    pub(super) fn carry_out(self, crew: &Arc<Crew>, service: &Service) {
        service.ask_for_forks(crew, self.forks);
        if self.leaving {
            service.see_off(crew);
        }
        for (job, cause) in self.failed {
            job.fail(cause);
        }
        if let Some(waker) = self.wake {
            waker.wake();
        }
    }
}
