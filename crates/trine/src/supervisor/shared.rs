//! The state that a supervisor shares with its handle.
//!
//! It is under one lock of std, held for a few instructions. No code of the program runs under it:
//! children are launched, cancelled and joined outside.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::blueprint::Blueprint;
use super::child::Child;
use super::error::SupervisorError;
use super::info::{ChildInfo, ChildState};
use super::plan::{Ended, Member, Phase, Plan};
use super::reports::Reports;
use crate::task::{Canceller, Kind, State as TaskState, Task, park};

/// The run of a child.
pub(super) struct Running {
    pub(super) task: Task<Result<(), String>>,
    pub(super) reports: Reports,
    /// The interval in which the child has to report, and its end.
    pub(super) health: Option<(Duration, Instant)>,
}

struct State {
    plan: Plan,
    runs: Vec<Option<Running>>,
    kinds: Vec<Kind>,
    /// Wakes the supervisor's task; none before it has begun.
    supervisor: Option<Waker>,
}

pub(super) struct Shared(Mutex<State>);

impl Shared {
    pub(super) fn new(blueprint: &Blueprint) -> Shared {
        let now = Instant::now();
        let children = || blueprint.children.iter();
        let member =
            |(name, child): &(Arc<str>, Child)| Member::new(Arc::clone(name), child.restart, now);
        let members = children().map(member).collect();
        let plan = Plan::new(blueprint.strategy, blueprint.intensity, blueprint.backoff, members);
        Shared(Mutex::new(State {
            plan,
            runs: children().map(|_| None).collect(),
            kinds: children().map(|(_, child)| child.kind).collect(),
            supervisor: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the waker of the supervisor's task.
    pub(super) fn attach(&self, supervisor: Waker) {
        self.lock().supervisor = Some(supervisor);
    }

    /// Calls `change`, and wakes the supervisor.
    fn change<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state.plan);
        let supervisor = state.supervisor.clone();
        drop(state);
        supervisor.into_iter().for_each(park::wake);
        result
    }

    pub(super) fn stop(&self) {
        self.change(Plan::stop);
    }

    /// Has a child run again. Returns `None` if there is none of that name, and false if the
    /// supervisor ends.
    pub(super) fn restart(&self, name: &str, now: Instant) -> Option<bool> {
        self.change(|plan| {
            let at = plan.members.iter().position(|member| &*member.name == name)?;
            Some(plan.restart(at, now))
        })
    }

    pub(super) fn children(&self) -> Vec<ChildInfo> {
        let state = self.lock();
        let all = state.plan.members.iter().zip(&state.runs).zip(&state.kinds);
        all.map(|((member, run), kind)| ChildInfo {
            name: member.name.clone(),
            kind: *kind,
            state: match member.phase {
                Phase::Down { delay, .. } => ChildState::Waiting { pause: delay },
                Phase::Finished => ChildState::Ended,
                _ if member.end.is_some() => ChildState::Ending,
                Phase::Starting => ChildState::Starting,
                Phase::Up => ChildState::Running,
            },
            restarts: member.restarts,
            running_since: member.running_since(),
            last_failure: member.last.clone(),
            pid: run.as_ref().and_then(|run| run.task.worker_pid()),
        })
        .collect()
    }

    /// Looks at all running children: takes those that have ended, notes those that are ready, and
    /// those that were silent for too long. `waker` is woken when there is more.
    pub(super) fn look(
        &self,
        waker: &Waker,
        now: Instant,
    ) -> Vec<(usize, Task<Result<(), String>>)> {
        let state = &mut *self.lock();
        let mut ended = Vec::new();
        for (at, entry) in state.runs.iter_mut().enumerate() {
            let Some(run) = entry else { continue };
            if run.task.register(waker) {
                // The reports are code of this crate, and dropped here.
                ended.extend(entry.take().map(|run| (at, run.task)));
                continue;
            }
            if state.plan.members[at].phase == Phase::Starting && run.reports.look(waker) {
                state.plan.ready(at);
            }
            if let Some((interval, until)) = run.health
                && until <= now
            {
                let has_begun = run.task.info().state != TaskState::New;
                if has_begun && !run.reports.was_alive() {
                    state.plan.silent(at, interval);
                    run.health = None;
                } else {
                    run.health = now.checked_add(interval).map(|until| (interval, until));
                }
            }
        }
        ended
    }

    /// Notes the end of a child's run.
    pub(super) fn ended(&self, at: usize, ended: Ended) {
        self.lock().plan.ended(at, ended, Instant::now());
    }

    /// Returns the cancellers of the children to end now.
    pub(super) fn end_next(&self) -> Vec<Canceller> {
        let state = &mut *self.lock();
        let next = state.plan.end_next().into_iter();
        next.filter_map(|at| Some(state.runs[at].as_ref()?.task.canceller())).collect()
    }

    /// Returns the child to start now, with the number of its restarts.
    pub(super) fn start_next(&self, now: Instant) -> Option<(usize, u64)> {
        let plan = &mut self.lock().plan;
        let next = plan.start_next(now)?;
        Some((next, plan.members[next].restarts))
    }

    /// Adds the run of a child that was launched. It is ready if it does not report that.
    pub(super) fn launched(&self, at: usize, run: Running, reports_ready: bool) {
        let state = &mut *self.lock();
        state.runs[at] = Some(run);
        if !reports_ready {
            state.plan.ready(at);
        }
    }

    /// Returns the next moment at which there is something to do.
    pub(super) fn next_moment(&self) -> Option<Instant> {
        let state = self.lock();
        let health = state.runs.iter().flatten().filter_map(|run| run.health);
        health.map(|(_, until)| until).chain(state.plan.next_start()).min()
    }

    pub(super) fn is_up(&self) -> bool {
        self.lock().plan.is_up()
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().plan.is_over()
    }

    /// Returns the error of the supervisor, if its children were restarted too often.
    pub(super) fn error(&self) -> Option<SupervisorError> {
        let (limit, failures) = self.lock().plan.take_failures()?;
        Some(SupervisorError::too_often(limit, failures))
    }

    /// Takes the runs of all children, the last one first.
    pub(super) fn take_runs(&self) -> Vec<Running> {
        self.lock().runs.iter_mut().rev().filter_map(Option::take).collect()
    }
}
