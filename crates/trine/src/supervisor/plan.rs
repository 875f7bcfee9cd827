//! The decisions of a supervisor: which child is ended or started next. It starts nothing and waits
//! for nothing itself.
//!
//! ```text
//!            start                 ready                 end asked for
//!   Down ───────────► Starting ───────────► Up ─────────┐ of either
//!    ▲                    │                  │          ▼
//!    │   to run again     └────── ended ─────┴────── (ended)
//!    └───────────────────────────────┤
//!                                    └───────────► Finished: not to run again
//! ```
//!
//! A child that is `Starting` or `Up` has a task. With `end` set, it is ended in its turn: from the
//! last to the first. The start of a child waits for those before it, and for all that are ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::{Backoff, Restarts, jitter};
use super::child::Restart;
use super::error::{Failure, Failures, Intensity};
use crate::task::TaskError;

/// The children that are restarted with one that has failed.
///
/// ```
/// use trine::supervisor::Strategy;
///
/// let supervisor = trine::supervisor().strategy(Strategy::OneForAll);
/// # supervisor.run().unwrap();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// None. The default.
    #[default]
    OneForOne,
    /// All others. They are ended first, the last one first; then all start in their order.
    OneForAll,
    /// Those that are declared after it, in the same way.
    RestForOne,
}

/// The result of a child's function: an error as text.
pub(super) type Ended = Result<Result<(), String>, TaskError>;

/// The place of a child in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// To be started, not before `at`: `None` is never, for a pause beyond the clock's range.
    Down {
        at: Option<Instant>,
        delay: Duration,
    },
    Starting,
    Up,
    Finished,
}

/// The reason for which a child is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Another child has failed.
    Sibling,
    /// It has reported nothing for this time.
    Silent(Duration),
    /// The program wants it started again.
    Restart,
    /// The supervisor ends.
    Stop,
}

/// One child.
pub(super) struct Member {
    pub(super) name: Arc<str>,
    restart: Restart,
    pub(super) phase: Phase,
    pub(super) end: Option<End>,
    /// True if the task was cancelled.
    pub(super) ending: bool,
    /// True if the child was once ready.
    was_up: bool,
    pub(super) restarts: u64,
    pub(super) last: Option<Failure>,
    /// Failures without a healthy time in between.
    in_a_row: u32,
    begun: Instant,
}

impl Member {
    pub(super) fn new(name: Arc<str>, restart: Restart, now: Instant) -> Member {
        Member {
            name,
            restart,
            phase: Phase::Down { at: Some(now), delay: Duration::ZERO },
            end: None,
            ending: false,
            was_up: false,
            restarts: 0,
            last: None,
            in_a_row: 0,
            begun: now,
        }
    }

    fn has_task(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Up)
    }

    /// Returns the moment at which its present run was started.
    pub(super) fn running_since(&self) -> Option<Instant> {
        self.has_task().then_some(self.begun)
    }

    /// Returns true if the children after it may start.
    fn is_passed(&self, strategy: Strategy) -> bool {
        let passed_before = strategy == Strategy::OneForOne && self.was_up;
        matches!(self.phase, Phase::Up | Phase::Finished) || passed_before
    }

    fn run_again(&mut self, at: Option<Instant>, delay: Duration) {
        self.phase = Phase::Down { at, delay };
        self.restarts += 1;
    }
}

/// The children of a supervisor, and the rules for their restarts.
pub(super) struct Plan {
    strategy: Strategy,
    backoff: Backoff,
    restarts: Restarts,
    pub(super) members: Vec<Member>,
    stopping: bool,
    gave_up: bool,
}

impl Plan {
    pub(super) fn new(
        strategy: Strategy,
        intensity: Intensity,
        backoff: Backoff,
        members: Vec<Member>,
    ) -> Plan {
        let restarts = Restarts::new(intensity);
        Plan { strategy, backoff, restarts, members, stopping: false, gave_up: false }
    }

    /// Returns the child that starts next, if it may start by now, and notes that it does.
    pub(super) fn start_next(&mut self, now: Instant) -> Option<usize> {
        let next = self.startable().find(|at| match self.members[*at].phase {
            Phase::Down { at, .. } => at.is_some_and(|at| at <= now),
            _ => false,
        })?;
        let member = &mut self.members[next];
        (member.phase, member.begun) = (Phase::Starting, now);
        Some(next)
    }

    /// Returns the moment at which a child may start that has to wait for nothing else.
    pub(super) fn next_start(&self) -> Option<Instant> {
        let moment = |at: usize| match self.members[at].phase {
            Phase::Down { at, .. } => at,
            _ => None,
        };
        self.startable().filter_map(moment).min()
    }

    /// Returns the children that wait for a moment at most.
    fn startable(&self) -> impl Iterator<Item = usize> + '_ {
        let in_turn = self.strategy != Strategy::OneForOne;
        let blocked = in_turn && self.members.iter().any(|member| member.end.is_some());
        let passed = |member: &&Member| member.is_passed(self.strategy);
        let first = self.members.iter().take_while(passed).count();
        let down = |at: &usize| matches!(self.members[*at].phase, Phase::Down { .. });
        (0..self.members.len()).filter(move |at| !blocked && *at <= first).filter(down)
    }

    /// Returns the children to cancel now, and notes that they are.
    pub(super) fn end_next(&mut self) -> Vec<usize> {
        let in_turn = self.stopping || self.strategy != Strategy::OneForOne;
        let mut next = Vec::new();
        for (at, member) in self.members.iter_mut().enumerate().rev() {
            if member.end.is_some() && member.has_task() {
                if !std::mem::replace(&mut member.ending, true) {
                    next.push(at);
                }
                if in_turn {
                    break;
                }
            }
        }
        next
    }

    /// Notes that a child is ready.
    pub(super) fn ready(&mut self, at: usize) {
        let member = &mut self.members[at];
        if member.phase == Phase::Starting {
            (member.phase, member.was_up) = (Phase::Up, true);
        }
    }

    /// Notes that a child has been silent for too long, and is to be ended.
    pub(super) fn silent(&mut self, at: usize, interval: Duration) {
        self.members[at].end.get_or_insert(End::Silent(interval));
    }

    /// Notes that a child's task has ended, and decides about its next run.
    pub(super) fn ended(&mut self, at: usize, ended: Ended, now: Instant) {
        let member = &mut self.members[at];
        let end = member.end.take();
        member.ending = false;
        let is_permanent = member.restart == Restart::Permanent;
        let failure = match (end, ended) {
            (Some(End::Silent(interval)), _) => Some(Failure::Silent(interval)),
            // It was asked to end, so any result is as good.
            (Some(_), Err(error)) if error.is_cancelled() => None,
            (Some(_), Ok(_)) => None,
            (_, Err(error)) => Some(Failure::Ended(error)),
            (None, Ok(Err(text))) => Some(Failure::Returned(text)),
            (None, Ok(Ok(()))) => is_permanent.then_some(Failure::Finished),
        };
        member.last = failure.clone().or(member.last.take());
        if self.stopping {
            member.phase = Phase::Finished;
            return;
        }
        match (end, failure) {
            (Some(End::Restart), _) => {
                member.in_a_row = 0;
                member.run_again(Some(now), Duration::ZERO);
            }
            (Some(End::Sibling), _) if member.restart != Restart::Temporary => {
                member.run_again(Some(now), Duration::ZERO);
            }
            (None | Some(End::Silent(_)), Some(failure))
                if member.restart != Restart::Temporary =>
            {
                self.failed(at, failure, now);
            }
            _ => member.phase = Phase::Finished,
        }
    }

    /// Restarts a child that has failed, and those that the strategy names.
    fn failed(&mut self, at: usize, failure: Failure, now: Instant) {
        let member = &mut self.members[at];
        if !self.restarts.allow(&member.name, failure, now) {
            member.phase = Phase::Finished;
            self.gave_up = true;
            self.stop();
            return;
        }
        if self.backoff.heals(now.saturating_duration_since(member.begun)) {
            member.in_a_row = 0;
        }
        member.in_a_row = member.in_a_row.saturating_add(1);
        let delay = self.backoff.delay(member.in_a_row, jitter());
        member.run_again(now.checked_add(delay), delay);
        let from = match self.strategy {
            Strategy::OneForOne => self.members.len(),
            Strategy::OneForAll => 0,
            Strategy::RestForOne => at + 1,
        };
        let tasks = self.members[from..].iter_mut().filter(|member| member.has_task());
        tasks.for_each(|member| _ = member.end.get_or_insert(End::Sibling));
    }

    /// Has a child run again, whatever its state is. Returns false if the supervisor ends.
    pub(super) fn restart(&mut self, at: usize, now: Instant) -> bool {
        let member = &mut self.members[at];
        if self.stopping {
            return false;
        }
        match &mut member.phase {
            Phase::Starting | Phase::Up => _ = member.end.get_or_insert(End::Restart),
            Phase::Down { at, .. } => *at = Some(now),
            Phase::Finished => member.run_again(Some(now), Duration::ZERO),
        }
        true
    }

    /// Ends all children. None is started any more.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        for member in &mut self.members {
            match member.phase {
                Phase::Starting | Phase::Up => member.end = Some(End::Stop),
                Phase::Down { .. } | Phase::Finished => member.phase = Phase::Finished,
            }
        }
    }

    /// Returns true if each child is ready, or was.
    pub(super) fn is_up(&self) -> bool {
        self.members.iter().all(|member| member.was_up || member.phase == Phase::Finished)
    }

    /// Returns true if no child runs, and none will.
    pub(super) fn is_over(&self) -> bool {
        self.members.iter().all(|member| member.phase == Phase::Finished)
    }

    /// Returns the failures, if there were too many.
    pub(super) fn take_failures(&mut self) -> Option<(Intensity, Failures)> {
        self.gave_up.then(|| (self.restarts.limit, self.restarts.take_failures()))
    }
}
