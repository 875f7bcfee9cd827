//! The workers of one pool and the tasks that wait for them: who gets what, and when to fork.
//!
//! All decisions are taken under one lock by short functions that only look and move; what has to
//! happen outside (forks to ask for, tasks to end) they leave in a [`Todo`].
//!
//! A task is in one of three places: in `queue`, in the `job` of one post, or ended. A worker is on
//! the way (`coming`), at a post, or gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::job::{Job, Record};
use super::link::{Link, Post};
use super::queue::Queue;
use super::service::{self, Service};
use super::setup::Setup;
use super::wire::{self, FrameKind};
use crate::task::{Cause, park};

/// How long a worker may go on with a task that was asked to end: long enough to put things in
/// order, short enough for somebody who waits for a whole scope to end.
const GRACE: Duration = Duration::from_secs(2);
/// After how many workers in a row that died before they were ready no more are forked.
const MOST_STILLBORN: u32 = 3;

/// How a crew works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// So many workers, kept for the next task.
    Kept(usize),
    /// A fresh worker for each task, at most so many at one time.
    Fresh(usize),
}

pub(super) struct Crew {
    plan: Plan,
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
    /// Forks asked for and not answered.
    coming: usize,
    /// How long a worker may go on with a task that was asked to end, if not `GRACE`.
    grace: Option<Duration>,
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
}

impl Crew {
    pub(super) fn new(plan: Plan, setup: &Setup) -> Arc<Crew> {
        let captures = setup.captures;
        let setup =
            (*setup != Setup::default()).then(|| Arc::new(wire::frame(FrameKind::Setup, 0, setup)));
        Arc::new(Crew { plan, setup, captures, state: Mutex::default() })
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
                match state.idle.pop() {
                    Some(id) => state.post(id).hand(job),
                    None => state.queue.push_back(job),
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
        self.lock().grace = Some(grace);
    }

    /// Asks a task to end with `cause`: in the queue it does so at once; at a worker it has the
    /// grace to do so. One that has left the crew stays as it is.
    pub(super) fn stop(self: &Arc<Crew>, task: &Record, cause: Cause) {
        let Ok(service) = service::get() else { return };
        let mut state = self.lock();
        let todo = match state.queue.take(task) {
            Some(job) => {
                let wake = if state.is_gone() { state.watcher.take() } else { None };
                Todo { failed: vec![(job, cause)], wake, ..Todo::default() }
            }
            None => {
                let grace = state.grace.unwrap_or(GRACE);
                if let Some(post) = state.post_of(task) {
                    post.stop(cause, grace, service);
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
            Some(post) if post.job.as_ref().is_some_and(Job::is_stopped) => {
                post.kill_if_due(Instant::now());
            }
            _ => {
                drop(state);
                self.stop(task, Cause::TimedOut);
            }
        }
    }

    /// Takes back the fork of a fresh worker, asked for and not begun, if its task was cancelled.
    pub(super) fn withdraw(&self) -> bool {
        let mut state = self.lock();
        if matches!(self.plan, Plan::Kept(_)) || state.coming <= state.queue.len() {
            return false;
        }
        state.coming -= 1;
        true
    }

    /// Takes no more tasks; workers end when there are none left.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        for id in std::mem::take(&mut state.idle) {
            state.post(id).dismiss();
        }
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

    /// A worker was forked.
    pub(super) fn joined(&self, link: Arc<Link>) {
        let mut state = self.lock();
        state.coming -= 1;
        let id = link.id;
        let mut post = Post::new(link);
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

    /// A worker has answered its task; it gets the next one, unless it is known to be dead.
    /// `None` if it had no such task.
    pub(super) fn answered(&self, id: u64, task: u64, dead: bool) -> Option<Job> {
        let mut state = self.lock();
        let post = state.posts.get_mut(&id)?;
        let job = post.job.take_if(|job| job.id() == task)?;
        match self.plan {
            _ if dead || job.is_killed() => {}
            Plan::Kept(_) => state.employ(id, self.plan),
            Plan::Fresh(_) => post.dismiss(),
        }
        Some(job)
    }

    /// There is room to write to a worker.
    pub(super) fn room(&self, id: u64) {
        if let Some(post) = self.lock().posts.get_mut(&id) {
            post.flush();
        }
    }

    /// A worker is gone, and was waited for. A task that it had begun ends with `cause`; one that it
    /// had not goes to another worker.
    pub(super) fn died(&self, id: u64, was_ready: bool, cause: Cause) -> Todo {
        let mut state = self.lock();
        let Some(post) = state.posts.remove(&id) else { return Todo::default() };
        state.idle.retain(|idle| *idle != id);
        let begun = post.has_begun();
        let mut failed = Vec::new();
        if was_ready {
            state.stillborn = 0;
            state.held = None;
        } else if !post.job.as_ref().is_some_and(Job::is_stopped) {
            state.stillborn += 1;
            if state.stillborn >= MOST_STILLBORN {
                state.stillborn = 0;
                state.held = Some(format!(
                    "{MOST_STILLBORN} workers in a row died before they could take a task; of the \
                     last one is known: it {cause}"
                ));
            }
        }
        if let Some(mut job) = post.job {
            job.printed = post.link.printed();
            match job.cause_of_death(begun, &cause) {
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
        let has = |post: &&mut Post| post.job.as_ref().is_some_and(|job| job.id() == task.id());
        self.posts.values_mut().find(has)
    }

    /// Gives a worker without a task the next one, or lets it rest or go.
    fn employ(&mut self, id: u64, plan: Plan) {
        let next = self.queue.pop_front();
        let keep = matches!(plan, Plan::Kept(_)) && !self.closing;
        match next {
            Some(job) => self.post(id).hand(job),
            None if keep => self.idle.push(id),
            None => self.post(id).dismiss(),
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
        for (job, cause) in self.failed {
            job.fail(cause);
        }
        if let Some(waker) = self.wake {
            waker.wake();
        }
    }
}
