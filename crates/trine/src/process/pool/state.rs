//! Who of a dispatcher has what: its workers, and its tasks that no worker has. All of it is used under the dispatcher's lock.
//!
//! A task is in one of four places: in `queue`, among the `jobs` of one post, among the `delayed` ones, or ended. A
//! worker is on the way (`coming`), at a post, or gone.
//!
//! A worker is given more tasks than the one that it runs, as many as it does in about [`AHEAD`]: else it would
//! wait for its master after each of them. That keeps nobody waiting behind a long one: a worker that has
//! nothing left takes back what another one has not begun.

use std::collections::HashMap;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::policy::{Plan, Policy};
use super::queue::Queue;
use super::retries::Delayed;
use super::stats::PoolStats;
use super::worker::{Look, WorkerState};
use crate::process::task::job::{Job, TaskAlarm};
use crate::process::task::record::Record;
use crate::sys::process::child;
use crate::task::Cause;

/// How much work a worker is given ahead, in time.
const AHEAD: Duration = Duration::from_micros(200);
/// Most tasks that a worker is given ahead.
const MOST_AHEAD: u64 = 256;

/// After how many workers in a row that died before they were ready no more are forked.
const MOST_STILLBORN: u32 = 3;

/// How long a worker may take to end that was told to: its exit handlers run.
const LEAVE: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct State {
    /// Tasks that no worker has, in order.
    pub(super) queue: Queue,
    /// Tasks that wait until they are run again.
    pub(super) delayed: Delayed,
    /// Workers, by the number of their link.
    pub(super) posts: HashMap<u64, WorkerState>,
    /// Those without a task, the one used last at the end.
    pub(super) idle: Vec<u64>,
    /// How many of the posts are dismissed.
    leaving: usize,
    /// What a task takes its worker, in nanoseconds: an average in which the last ones count most.
    pub(super) pace: u64,
    /// Spawner asked for and not answered.
    pub(super) coming: usize,
    /// How long a worker may go on with a task that was asked to end.
    pub(super) grace: Duration,
    /// No more tasks will be submitted.
    pub(super) closing: bool,
    /// When all workers are killed.
    pub(super) end_at: Option<Instant>,
    /// Why no more forks are asked for, until something has changed.
    pub(super) held: Option<String>,
    /// Workers in a row that died before they were ready.
    pub(super) failed_starts: u32,
    /// Who waits for the last worker to be gone.
    pub(super) watcher: Option<Waker>,
    /// Alarms of tasks to set before the lock is given back.
    pub(super) alarms: Vec<TaskAlarm>,
    /// When the dispatcher has to be looked at, as far as `armed` does not say.
    pub(super) wish: Option<Instant>,
    /// When the dispatcher's alarm goes off.
    pub(super) armed: Option<Instant>,
}

impl State {
    pub(super) fn new(grace: Duration) -> State {
        State { grace, ..State::default() }
    }

    pub(super) fn post(&mut self, id: u64) -> &mut WorkerState {
        self.posts.get_mut(&id).expect("an idle worker is at its post")
    }

    /// The worker that has the task.
    pub(super) fn post_of(&mut self, task: &Record) -> Option<&mut WorkerState> {
        self.posts.get_mut(&task.worker()).filter(|post| post.has(task.id()))
    }

    /// Asks the worker that has the task to end it with `cause`.
    pub(super) fn stop(&mut self, task: &Record, cause: Cause) {
        if let Some(worker) = self.posts.get_mut(&task.worker()) {
            worker.stop(task.id(), cause, self.grace, &mut self.alarms);
        }
    }

    /// Takes a task out that no worker has begun.
    pub(super) fn take(&mut self, task: &Record, policy: &Policy) -> Option<Job> {
        let waiting = self.queue.take(task).or_else(|| self.delayed.take(task));
        waiting.or_else(|| self.withdraw(task, policy))
    }

    /// Takes a task back from a worker that has not begun it.
    fn withdraw(&mut self, task: &Record, policy: &Policy) -> Option<Job> {
        let id = task.worker();
        let job = self.post_of(task)?.withdraw(task.id())?;
        let post = self.post(id);
        if !post.dismissed && !post.hung_up {
            self.employ(id, policy);
        }
        Some(job)
    }

    /// Gives a worker tasks, or lets it rest or go if there are none.
    pub(super) fn employ(&mut self, id: u64, policy: &Policy) {
        let ahead = self.ahead(policy);
        let share = self.queue.len() / self.posts.len().max(1) + 1;
        let post = self.posts.get_mut(&id).expect("its caller has seen it at its post");
        let most = ahead.min(post.jobs.len() + share);
        while post.jobs.len() < most
            && post.given < policy.tasks_per_worker
            && let Some(job) = self.queue.pop_front()
        {
            if let Some(job) = post.give(job, policy) {
                self.queue.push_front(job);
                break;
            }
        }
        if !post.jobs.is_empty() || post.idle {
            self.watch_limit(policy);
        } else if post.given >= policy.tasks_per_worker {
            self.dismiss(id);
        } else if self.relieve(id, policy) {
            self.watch_limit(policy);
        } else if policy.is_fresh() || self.closing {
            self.dismiss(id);
        } else {
            self.rest(id, policy);
        }
    }

    /// A worker has no task for now.
    fn rest(&mut self, id: u64, policy: &Policy) {
        // Nobody knows how long one that is not ready will take.
        let at = if self.post(id).link.is_ready() { self.idle.len() } else { 0 };
        self.idle.insert(at, id);
        let since = policy.idle.map(|_| Instant::now());
        let post = self.post(id);
        (post.idle, post.idle_since) = (true, since);
        if let Some(at) = since.zip(policy.idle).and_then(|(since, idle)| since.checked_add(idle)) {
            self.wish(at);
        }
    }

    /// The worker that has rested for longest; not the first of them, where those are that are not ready.
    fn longest_idle(&self) -> Option<u64> {
        self.idle.iter().copied().min_by_key(|id| self.posts[id].idle_since)
    }

    /// Takes a worker that rests out of those that do; `false` if it does not.
    pub(super) fn wake(&mut self, id: u64) -> bool {
        let Some(index) = self.idle.iter().position(|idle| *idle == id) else { return false };
        self.idle.remove(index);
        self.post(id).idle = false;
        true
    }

    /// How many tasks a worker may have.
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

    /// Gives a worker that has nothing half of what another one has not begun, or the one task of a worker that is not
    /// ready; `false` if there is nothing.
    fn relieve(&mut self, id: u64, policy: &Policy) -> bool {
        let is_ready = self.post(id).link.is_ready();
        // What came through the socket stays where it is.
        let gives_all = |post: &WorkerState| {
            let last = post.jobs.back().filter(|_| is_ready && !post.link.is_ready());
            last.is_some_and(|job| job.ring_position.is_some())
        };
        let busiest = self.posts.values_mut().map(|post| (gives_all(post), post));
        let spare = |all: bool, post: &WorkerState| post.jobs.len() + usize::from(all);
        let busiest = busiest.max_by_key(|(all, post)| (spare(*all, post), *all));
        let Some((all, busiest)) = busiest else { return false };
        let mut moved: Vec<Job> = Vec::new();
        for _ in 0..spare(all, busiest) / 2 {
            moved.extend(busiest.withdraw_last());
        }
        let (relieved, stays) = (busiest.link.id, !busiest.dismissed && !busiest.hung_up);
        let rests = stays && busiest.jobs.is_empty() && !moved.is_empty();
        let post = self.post(id);
        while post.given < policy.tasks_per_worker
            && let Some(job) = moved.pop()
        {
            if let Some(job) = post.give(job, policy) {
                moved.push(job);
                break;
            }
        }
        moved.into_iter().for_each(|job| self.queue.push_front(job));
        if rests {
            self.employ(relieved, policy);
        }
        !self.post(id).jobs.is_empty()
    }

    /// Gives resting workers what has come back into the queue.
    pub(super) fn employ_idle(&mut self, policy: &Policy) {
        while !self.queue.is_empty()
            && let Some(id) = self.idle.pop()
        {
            self.post(id).idle = false;
            self.employ(id, policy);
        }
    }

    /// Workers that are not about to end.
    fn living(&self) -> usize {
        self.posts.len() - self.leaving
    }

    /// Tasks that wait for a worker, or behind another task.
    fn waiting(&self) -> usize {
        let behind = |post: &WorkerState| post.jobs.len().saturating_sub(1);
        self.queue.len() + self.posts.values().map(behind).sum::<usize>()
    }

    /// How many workers should be on the way. One that was told to end is replaced at once, but for fresh ones:
    /// those are as many as there may be.
    fn needed(&self, policy: &Policy) -> usize {
        let there = if policy.is_fresh() { self.posts.len() } else { self.living() };
        let room = policy.most().saturating_sub(there);
        if room == 0 {
            // Asked at each task of a busy pool, which is not to cost a look at each worker.
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

    /// Counts the forks to ask for now, as asked for.
    pub(super) fn balance(&mut self, policy: &Policy) -> usize {
        if self.held.is_some() {
            return 0;
        }
        let forks = self.needed(policy).saturating_sub(self.coming);
        self.coming += forks;
        forks
    }

    /// Takes back one fork that was asked for and that nobody needs.
    pub(super) fn cancel_fork(&mut self, policy: &Policy) -> bool {
        let is_spare = self.coming > self.needed(policy);
        self.coming -= usize::from(is_spare);
        is_spare
    }

    /// Tells an idle worker to end.
    pub(super) fn dismiss(&mut self, id: u64) {
        let leaves_by = Instant::now() + LEAVE;
        let post = self.post(id);
        post.idle = false;
        post.leaves_by = Some(leaves_by);
        post.dismiss();
        self.leaving += 1;
        self.wish(leaves_by);
    }

    /// Tells all idle workers to end.
    pub(super) fn dismiss_idle(&mut self) {
        for id in std::mem::take(&mut self.idle) {
            self.dismiss(id);
        }
    }

    /// Kills a worker one of whose tasks has gone on beyond its grace. What it has not begun goes back into the queue
    /// first, so that its death hits nobody else.
    pub(super) fn end_grace(&mut self, id: u64, now: Instant) {
        let post = self.posts.get_mut(&id).expect("its caller has seen it at its post");
        if !post.jobs.iter().any(|job| job.is_due(now)) {
            return;
        }
        let unbegun = post.withdraw_all();
        let is_to_be_killed = post.is_to_be_killed(now, &mut self.alarms);
        unbegun.into_iter().for_each(|job| self.queue.push_front(job));
        if is_to_be_killed {
            self.kill(id);
        }
    }

    /// Ends a worker, whatever it does.
    pub(super) fn kill(&mut self, id: u64) {
        let post = self.post(id);
        let counted = std::mem::replace(&mut post.dismissed, true);
        post.killed = true;
        child::kill(&post.link.pidfd);
        self.leaving += usize::from(!counted);
        self.idle.retain(|idle| *idle != id);
    }

    /// Takes a worker out that is gone.
    pub(super) fn remove(&mut self, id: u64) -> Option<WorkerState> {
        let post = self.posts.remove(&id)?;
        self.idle.retain(|idle| *idle != id);
        self.leaving -= usize::from(post.dismissed);
        Some(post)
    }

    /// Has the dispatcher looked at.
    pub(super) fn wish(&mut self, at: Instant) {
        self.wish = Some(self.wish.map_or(at, |wish| wish.min(at)));
    }

    /// A worker has a task: its limit is looked at in time. Later ones are as long as there is a first.
    fn watch_limit(&mut self, policy: &Policy) {
        if let Some(at) = policy.limit.and_then(|limit| Instant::now().checked_add(limit)) {
            self.wish(at);
        }
    }

    /// Looks whether the time of a task is up, and notes when to look again.
    pub(super) fn look_at_limits(&mut self, now: Instant, policy: &Policy) {
        let Some(limit) = policy.limit else { return };
        let mut hung = Vec::new();
        for (id, post) in self.posts.iter_mut().filter(|(_, post)| !post.dismissed) {
            match post.look_at_limit(now, limit, self.grace, &mut self.alarms) {
                Look::Again(at) => self.wish = Some(self.wish.map_or(at, |wish| wish.min(at))),
                Look::Never => {}
                Look::Hung => hung.push(*id),
            }
        }
        hung.into_iter().for_each(|id| self.kill(id));
    }

    /// Ends workers that have rested for long or take too long to start or to leave, and all if it is time for that; notes
    /// when to look again.
    pub(super) fn look_at_workers(&mut self, now: Instant, policy: &Policy) {
        if let Some(idle) = policy.idle {
            while self.living() > policy.fewest
                && let Some(id) = self.longest_idle()
                && let Some(at) = self.post(id).idle_since.and_then(|since| since.checked_add(idle))
            {
                if at > now {
                    self.wish(at);
                    break;
                }
                self.wake(id);
                self.dismiss(id);
            }
        }
        let is_end = self.end_at.is_some_and(|at| at <= now);
        let (mut late, mut overdue, mut back) = (Vec::new(), 0, Vec::new());
        for (id, post) in self.posts.iter_mut().filter(|(_, post)| !post.killed) {
            let starts = !post.link.is_ready() && !post.dismissed;
            let mut ready_by = post.ready_by.filter(|_| starts);
            if ready_by.is_some_and(|at| at <= now) {
                back.extend(post.withdraw_all());
                if post.jobs.iter().any(|job| job.ring_position.is_some()) {
                    // It has just become ready, and begun one.
                    ready_by = None;
                } else {
                    overdue += 1;
                }
            }
            let at = [ready_by, post.leaves_by, self.end_at].into_iter().flatten().min();
            if is_end {
                post.jobs.iter_mut().for_each(Job::killed);
            }
            match at {
                Some(at) if at <= now => late.push(*id),
                Some(at) => self.wish = Some(self.wish.map_or(at, |wish| wish.min(at))),
                None => {}
            }
        }
        late.into_iter().for_each(|id| self.kill(id));
        back.into_iter().for_each(|job| self.queue.push_front(job));
        self.employ_idle(policy);
        for _ in 0..overdue {
            self.failed_starts(&format!(
                "it was not ready within {:?} (`start_timeout`) and was killed: its initializer \
                 hangs or takes longer, or somebody has stopped it (SIGSTOP); allow more time, or \
                 see where it waits",
                policy.start.unwrap_or_default()
            ));
        }
    }

    /// Takes all tasks back that no worker has begun, and asks the others to end with `cause`.
    pub(super) fn end(&mut self, cause: &Cause, within: Duration) -> Vec<Job> {
        let mut waiting: Vec<Job> = self.queue.drain().chain(self.delayed.drain()).collect();
        let mut done = Vec::new();
        for (id, post) in &mut self.posts {
            waiting.extend(post.end(cause, within, &mut self.alarms));
            if post.jobs.is_empty() && !post.dismissed {
                done.push(*id);
            }
        }
        self.idle.clear();
        done.into_iter().for_each(|id| self.dismiss(id));
        self.end_at = Instant::now().checked_add(within);
        self.end_at.into_iter().for_each(|at| self.wish(at));
        waiting
    }

    /// A worker has died before it was ready, or is killed because it is not.
    pub(super) fn failed_starts(&mut self, known: &str) {
        self.failed_starts += 1;
        if self.failed_starts >= MOST_STILLBORN {
            self.failed_starts = 0;
            self.held = Some(format!(
                "{MOST_STILLBORN} workers in a row died before they could take a task; of the last \
                 one is known: {known}"
            ));
        }
    }

    /// With no worker there or on the way and no hope for one, nobody would ever run the queue.
    pub(super) fn give_up_if_alone(&mut self) -> Vec<(Job, Cause)> {
        match &self.held {
            Some(reason) if self.posts.is_empty() && self.coming == 0 => {
                let cause = Cause::NotSpawned { reason: reason.clone() };
                self.queue.drain().map(|job| (job, cause.clone())).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.closing
            && self.posts.is_empty()
            && self.coming == 0
            && self.queue.is_empty()
            && self.delayed.is_empty()
    }

    /// Who is to be told that a closed dispatcher is gone.
    pub(super) fn take_watcher(&mut self) -> Option<Waker> {
        if self.is_gone() { self.watcher.take() } else { None }
    }

    pub(super) fn stats(&self) -> PoolStats {
        let running = self.posts.values().filter(|post| !post.jobs.is_empty()).count();
        PoolStats {
            workers: self.living(),
            idle: self.idle.len(),
            running,
            queued: self.waiting() + self.delayed.len(),
            ..PoolStats::default()
        }
    }
}
