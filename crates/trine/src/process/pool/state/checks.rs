//! All that a dispatcher does because time has passed.

use std::time::{Duration, Instant};

use super::State;
use crate::process::pool::policy::Policy;
use crate::process::pool::worker::LimitCheck;
use crate::process::task::job::Job;
use crate::task::Cause;

impl State {
    /// Has the dispatcher check at this moment.
    pub(super) fn check_at(&mut self, at: Instant) {
        self.next_check = Some(self.next_check.map_or(at, |next| next.min(at)));
    }

    /// Checks retries, limits of tasks and workers, and notes when to check again.
    pub(in crate::process::pool) fn check(&mut self, now: Instant, policy: &Policy) {
        while let Some(job) = self.retries.pop(now) {
            self.no_forks = None;
            self.queue.push_front(job);
        }
        self.assign_to_idle(policy);
        self.check_limits(now, policy);
        self.check_workers(now, policy);
        let next = self.retries.first();
        next.into_iter().for_each(|at| self.check_at(at));
    }

    /// Has the limit of a task checked in time, when a worker has one. For its later tasks, each
    /// check notes the next.
    pub(super) fn check_limit_in_time(&mut self, policy: &Policy) {
        if let Some(at) = policy.limit.and_then(|limit| Instant::now().checked_add(limit)) {
            self.check_at(at);
        }
    }

    /// Ends tasks that have run for too long, and kills workers that hang.
    fn check_limits(&mut self, now: Instant, policy: &Policy) {
        let Some(limit) = policy.limit else { return };
        let (mut again, mut hung) = (None::<Instant>, Vec::new());
        for (id, worker) in self.workers.iter_mut().filter(|(_, worker)| !worker.dismissed) {
            match worker.check_limit(now, limit, self.grace, &mut self.alarms) {
                LimitCheck::Again(at) => again = Some(again.map_or(at, |again| again.min(at))),
                LimitCheck::Never => {}
                LimitCheck::Hung => hung.push(*id),
            }
        }
        again.into_iter().for_each(|at| self.check_at(at));
        hung.into_iter().for_each(|id| self.kill(id));
    }

    /// Dismisses workers that were idle for long, and kills those that take too long to start or to
    /// leave. Kills all of them if it is time for that.
    fn check_workers(&mut self, now: Instant, policy: &Policy) {
        if let Some(idle) = policy.idle {
            self.check_idle(now, idle, policy.fewest);
        }
        let kills_all = self.kill_all_at.is_some_and(|at| at <= now);
        let (mut late, mut overdue, mut back) = (Vec::new(), 0, Vec::new());
        let mut again = None::<Instant>;
        for (id, worker) in self.workers.iter_mut().filter(|(_, worker)| !worker.killed) {
            let starts = !worker.link.is_ready() && !worker.dismissed;
            let mut ready_by = worker.ready_by.filter(|_| starts);
            if ready_by.is_some_and(|at| at <= now) {
                back.extend(worker.withdraw_all());
                if worker.jobs.iter().any(|job| job.ring_position.is_some()) {
                    // It has just become ready, and begun one.
                    ready_by = None;
                } else {
                    overdue += 1;
                }
            }
            let at = [ready_by, worker.leaves_by, self.kill_all_at].into_iter().flatten().min();
            if kills_all {
                worker.jobs.iter_mut().for_each(Job::killed);
            }
            match at {
                Some(at) if at <= now => late.push(*id),
                Some(at) => again = Some(again.map_or(at, |again| again.min(at))),
                None => {}
            }
        }
        again.into_iter().for_each(|at| self.check_at(at));
        late.into_iter().for_each(|id| self.kill(id));
        back.into_iter().for_each(|job| self.queue.push_front(job));
        self.assign_to_idle(policy);
        for _ in 0..overdue {
            self.start_failed(&format!(
                "it was not ready within {:?} (`start_timeout`) and was killed: its initializer \
                 hangs or takes longer, or somebody has stopped it (SIGSTOP); allow more time, or \
                 see where it waits",
                policy.start.unwrap_or_default()
            ));
        }
    }

    /// Dismisses workers that were idle for `idle`, down to the fewest to keep.
    fn check_idle(&mut self, now: Instant, idle: Duration, fewest: usize) {
        while self.living() > fewest
            && let Some(id) = self.longest_idle()
            && let Some(at) = self.worker(id).idle_since.and_then(|since| since.checked_add(idle))
        {
            if at > now {
                self.check_at(at);
                break;
            }
            self.take_idle(id);
            self.dismiss(id);
        }
    }

    /// Returns the longest-idle worker. Not `idle[0]`: unready workers are kept at the front.
    fn longest_idle(&self) -> Option<u64> {
        self.idle.iter().copied().min_by_key(|id| self.workers[id].idle_since)
    }

    /// Kills a worker if one of its tasks has gone on beyond its grace. The tasks that it has not
    /// begun go back into the queue first, so that its death hits no other task.
    pub(in crate::process::pool) fn end_grace(&mut self, id: u64, now: Instant) {
        let worker = self.workers.get_mut(&id).expect("the caller has seen this worker");
        if !worker.jobs.iter().any(|job| job.is_due(now)) {
            return;
        }
        let unbegun = worker.withdraw_all();
        let is_to_be_killed = worker.is_to_be_killed(now, &mut self.alarms);
        unbegun.into_iter().for_each(|job| self.queue.push_front(job));
        if is_to_be_killed {
            self.kill(id);
        }
    }

    /// Kills a worker.
    fn kill(&mut self, id: u64) {
        let worker = self.worker(id);
        let counted = std::mem::replace(&mut worker.dismissed, true);
        worker.killed = true;
        worker.link.kill();
        self.dismissed += usize::from(!counted);
        self.idle.retain(|idle| *idle != id);
    }

    /// Takes all tasks back that no worker has begun, and asks the others to end with `cause`. All
    /// workers are killed after the time `within`.
    pub(in crate::process::pool) fn end(&mut self, cause: &Cause, within: Duration) -> Vec<Job> {
        let mut waiting: Vec<Job> = self.queue.drain().chain(self.retries.drain()).collect();
        let mut done = Vec::new();
        for (id, worker) in &mut self.workers {
            waiting.extend(worker.end(cause, within, &mut self.alarms));
            if worker.jobs.is_empty() && !worker.dismissed {
                done.push(*id);
            }
        }
        self.idle.clear();
        done.into_iter().for_each(|id| self.dismiss(id));
        self.kill_all_at = Instant::now().checked_add(within);
        self.kill_all_at.into_iter().for_each(|at| self.check_at(at));
        waiting
    }
}
