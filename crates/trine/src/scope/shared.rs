//! The books of one scope: who is still at work, and what has failed.
//!
//! ```text
//!   spawn:  enter ──► Member (travels with the task's function) ──► enlist: its canceller
//!   end:    Member dropped, after all that the task has borrowed ──► the last one wakes the owner
//! ```
//!
//! A member is dropped when the function has returned or unwound, or was dropped uncalled. After that
//! the task touches nothing that it borrowed, so the owner may go on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::task::cancel_scope::CancelScope;
use crate::task::{Canceller, Cause, Interrupted, TaskError, TaskInfo, job, park, wait};

/// How many failures are kept: a supervisor may run for ever.
const MOST_FAILURES: usize = 1024;

/// What a failure does to the other tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    EndAll,
    KeepGoing,
}

pub(super) struct Shared {
    policy: Policy,
    /// What the owner is in while its function runs.
    body: Arc<CancelScope>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// A free place is `Vacant`, and will be another member's.
    places: Vec<Place>,
    free: Vec<usize>,
    /// Members so far: the number of the next one.
    entered: u64,
    live: usize,
    /// Wakes the owner that waits for the last member. It need not be the task that has begun the
    /// scope: a generator moves between those of its thread.
    waker: Option<Waker>,
    /// Why all tasks are to end, also those to come.
    ending: Option<Arc<str>>,
    first: Option<TaskError>,
    later: Vec<TaskError>,
    failed: usize,
    /// Tasks that ended because they were cancelled.
    cancelled: usize,
}

enum Place {
    Vacant,
    /// Started, or about to be; its canceller comes next. The place may have been that of a member that
    /// ended so soon that its canceller is still to come, so it says whose it is.
    Starting(u64),
    Live(Canceller),
}

impl Shared {
    pub(super) fn new(policy: Policy) -> Arc<Shared> {
        Arc::new(Shared { policy, body: CancelScope::new(park::waker()), state: Mutex::default() })
    }

    pub(super) fn body(&self) -> &Arc<CancelScope> {
        &self.body
    }

    /// Counts a task that is about to be started.
    pub(super) fn enter(self: &Arc<Shared>) -> Member {
        let mut state = self.lock();
        state.live += 1;
        state.entered += 1;
        let number = state.entered;
        let place = match state.free.pop() {
            Some(place) => place,
            None => {
                state.places.push(Place::Vacant);
                state.places.len() - 1
            }
        };
        state.places[place] = Place::Starting(number);
        let late = state.ending.clone();
        drop(state);
        Member { shared: Arc::clone(self), ticket: Ticket { place, number }, late }
    }

    /// Notes how to cancel a task that was started.
    pub(super) fn enlist(&self, ticket: Ticket, canceller: Canceller) {
        let mut state = self.lock();
        let is_starting = matches!(state.places[ticket.place],
            Place::Starting(number) if number == ticket.number);
        if !is_starting {
            // It has ended already; the place may be another's by now.
            return;
        }
        match state.ending.clone() {
            Some(reason) => {
                drop(state);
                canceller.cancel_because(reason);
            }
            None => state.places[ticket.place] = Place::Live(canceller),
        }
    }

    /// Cancels all tasks, and those to come.
    pub(super) fn end_all(&self, reason: impl Into<Arc<str>>) {
        let mut state = self.lock();
        if state.ending.is_some() {
            return;
        }
        let reason: Arc<str> = reason.into();
        state.ending = Some(Arc::clone(&reason));
        let places = state.places.iter_mut().filter_map(|place| match place {
            Place::Live(canceller) => Some(canceller.clone()),
            _ => None,
        });
        let all: Vec<Canceller> = places.collect();
        drop(state);
        // A task that had not begun ends in this call, and comes to `Member::drop`.
        for canceller in all {
            canceller.cancel_because(Arc::clone(&reason));
        }
    }

    /// Whether all tasks are to end.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().ending.is_some()
    }

    /// A task has ended with an error.
    fn fail(&self, error: TaskError) {
        let mut state = self.lock();
        if error.is_cancelled() {
            state.cancelled += 1;
            return;
        }
        state.failed += 1;
        let text = match error.task() {
            Some(task) => format!("{task} of its scope has failed"),
            None => "another task of its scope has failed".to_owned(),
        };
        if state.first.is_none() {
            state.first = Some(error);
        } else if state.later.len() + 1 < MOST_FAILURES {
            state.later.push(error);
        }
        drop(state);
        if self.ends_all() {
            self.end_all(text);
            self.body.end();
        }
    }

    /// Waits until the last task has ended, whatever happens to the caller.
    ///
    /// # Errors
    ///
    /// The caller was interrupted, and so were tasks.
    pub(super) fn wait_for_all(&self) -> Result<(), Interrupted> {
        let mut interrupted = None;
        loop {
            let mut state = self.lock();
            if state.live == 0 {
                break;
            }
            state.waker.get_or_insert_with(park::waker);
            drop(state);
            if interrupted.is_some() {
                park::park(None);
            } else if let Err(why) = wait::for_wake(None) {
                self.end_all(why.passed_on());
                interrupted = Some(why);
            }
        }
        match interrupted {
            Some(why) if self.lock().cancelled > 0 => Err(why),
            _ => Ok(()),
        }
    }

    /// Whether a failure ends the body and the other tasks.
    pub(super) fn ends_all(&self) -> bool {
        self.policy == Policy::EndAll
    }

    /// Hangs the panic of the body off the failure that came before it.
    pub(super) fn suppress(&self, error: TaskError) {
        self.lock().later.push(error);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.lock().first.is_some()
    }

    pub(super) fn failed(&self) -> usize {
        self.lock().failed
    }

    pub(super) fn take_failures(&self) -> (Option<TaskError>, Vec<TaskError>) {
        let mut state = self.lock();
        (state.first.take(), std::mem::take(&mut state.later))
    }

    /// No code of a task runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a member stands, and which of those that stood there it is.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    place: usize,
    number: u64,
}

/// One task of a scope, as long as it may touch what it borrows.
pub(super) struct Member {
    shared: Arc<Shared>,
    pub(super) ticket: Ticket,
    /// Why the task is not to run: it came when all were to end.
    pub(super) late: Option<Arc<str>>,
}

impl Member {
    /// The task has ended with an error.
    pub(super) fn fail(&self, error: &TaskError) {
        self.shared.fail(error.clone());
    }

    /// The task's function is being dropped uncalled; as the first of what it owns.
    pub(super) fn refuse(&self, task: Option<TaskInfo>) {
        // Nothing but a task that is refused drops a member's function.
        let cause = job::refusal().unwrap_or(Cause::Cancelled { reason: None });
        self.shared.fail(TaskError::new(cause, task));
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.places[self.ticket.place] = Place::Vacant;
        state.free.push(self.ticket.place);
        state.live -= 1;
        let waker = if state.live == 0 { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{coroutine, time};

    #[test]
    fn a_member_that_ended_before_it_was_enlisted_leaves_the_next_in_its_place_alone() {
        let shared = Shared::new(Policy::EndAll);
        let early = shared.enter();
        let ticket = early.ticket;
        drop(early);
        let member = shared.enter();
        assert_eq!(member.ticket.place, ticket.place);
        let ended = coroutine::spawn(|| ());
        let task = coroutine::spawn(|| time::sleep(Duration::MAX));
        shared.enlist(ticket, ended.canceller());
        shared.enlist(member.ticket, task.canceller());
        shared.end_all("the test is over");
        assert!(task.join().unwrap_err().is_cancelled());
        ended.join().unwrap();
    }
}
