//! The loop of a supervisor: it does what the plan has decided, and waits for what happens.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::blueprint::Blueprint;
use super::child::Run;
use super::context::Context;
use super::error::{SupervisorError, without_payload};
use super::shared::{Running, Shared};
use crate::task::{self, Interrupted, TaskError, cancel, failure, park, wait};

/// Supervises the children until none is to run any more. `parent` is the context of a supervisor
/// that is a child itself.
///
/// # Errors
///
/// The children were restarted too often, or the caller was interrupted.
pub(super) fn run(
    blueprint: &Blueprint,
    shared: &Shared,
    parent: Option<(&Context, Option<Duration>)>,
) -> Result<(), SupervisorError> {
    let waker = park::waker();
    shared.attach(waker.clone());
    let _ends_with_it = EndAll(shared);
    let mut interrupted = None;
    loop {
        if interrupted.is_none()
            && let Err(why) = cancel::checkpoint()
        {
            shared.stop();
            interrupted = Some(why);
        }
        if step(blueprint, shared, &waker) {
            continue;
        }
        if shared.is_over() {
            break;
        }
        let mut until = shared.next_moment();
        if let Some((context, health)) = parent {
            context.alive();
            if shared.is_up() {
                context.ready();
            }
            let next = health.and_then(|interval| Instant::now().checked_add(interval / 2));
            until = until.into_iter().chain(next).min();
        }
        wait_until(until, interrupted.is_some());
    }
    match (shared.error(), interrupted) {
        (Some(error), _) => Err(error),
        (None, Some(why)) => Err(TaskError::from(why).into()),
        (None, None) => Ok(()),
    }
}

/// Waits for a wake-up. An interruption ends the wait, unless it is known already.
fn wait_until(until: Option<Instant>, is_interrupted: bool) {
    if is_interrupted {
        park::park(until);
    } else {
        // The loop asks again for the reason.
        let _: Result<(), Interrupted> = wait::for_wake(until);
    }
}

/// Does all that can be done now. Returns false if there was nothing.
fn step(blueprint: &Blueprint, shared: &Shared, waker: &Waker) -> bool {
    let ended = shared.look(waker, Instant::now());
    let mut has_acted = !ended.is_empty();
    for (at, task) in ended {
        let result = task.join_uninterrupted().map_err(without_payload);
        shared.ended(at, result);
    }
    for canceller in shared.end_next() {
        has_acted = true;
        canceller.cancel_because("its supervisor ends it");
    }
    if let Some((at, restarts)) = shared.start_next(Instant::now()) {
        has_acted = true;
        start(blueprint, shared, waker, (at, restarts));
    }
    has_acted
}

/// Starts a run of a child.
fn start(blueprint: &Blueprint, shared: &Shared, waker: &Waker, (at, restarts): (usize, u64)) {
    let (name, child) = &blueprint.children[at];
    let run = Run {
        name: Arc::clone(name),
        restarts,
        reports: child.reports_ready || child.health.is_some(),
        health: child.health,
        supervisor: waker.clone(),
    };
    // A deadline around the supervisor ends the children in their order, not all at once.
    let launch = || cancel::without_deadline(|| child.launch(run));
    match failure::catch(task::current, launch).and_then(|launched| launched) {
        Ok((task, reports)) => {
            let now = Instant::now();
            let health = child.health.and_then(|every| Some((every, now.checked_add(every)?)));
            shared.launched(at, Running { task, reports, health }, child.reports_ready);
        }
        Err(error) => shared.ended(at, Err(without_payload(error))),
    }
}

/// Ends all children when dropped. They have ended before, unless the supervisor unwinds.
struct EndAll<'a>(&'a Shared);

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        for run in self.0.take_runs() {
            run.task.cancel_because("its supervisor unwinds");
            let _ = run.task.join_uninterrupted();
        }
    }
}
