//! The live tasks of one scope, and the failures.
//!
//! ```text
//!   spawn:  enter ──► Member (travels with the task's function) ──► enlist: its canceller
//!   end:    Member dropped, after all borrows of the task ──► the last one wakes the owner
//! ```
//!
//! A member is dropped when the function has returned or unwound, or was dropped uncalled. After
//! that the task touches no borrowed data, so the owner may go on.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::task::cancel::scope::CancelScope;
use crate::task::{Canceller, Cause, Interrupted, TaskError, TaskInfo, job, park, wait};

/// The most failures that are kept: a supervisor may run forever.
const MOST_FAILURES: usize = 1024;

/// The effect of a failure on the other tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// They are cancelled.
    EndAll,
    /// They go on.
    KeepGoing,
}

/// The part of a scope that its tasks share with its owner.
pub(super) struct Shared {
    policy: Policy,
    /// Ends the waits of the owner while its function runs.
    body: Arc<CancelScope>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// One entry a member. A `Vacant` entry is reused.
    entries: Vec<Entry>,
    /// The indices of vacant entries.
    free: Vec<usize>,
    /// The number of members so far, which is the number of the latest.
    entered: u64,
    live: usize,
    /// Wakes the owner that waits for the last member. It need not be the task that has begun the
    /// scope: a generator moves between the tasks of its thread.
    waker: Option<Waker>,
    /// Wakes those that wait for a moment without members, each time there is one.
    watchers: Vec<(u64, Waker)>,
    /// The number of watchers so far.
    watched: u64,
    /// The reason for which all tasks end, also later ones.
    ending: Option<Arc<str>>,
    first: Option<TaskError>,
    /// True if the first failure is an error that a function returned, which the scope keeps.
    returned: bool,
    later: Vec<TaskError>,
    failed: usize,
    /// Tasks that ended because they were cancelled.
    cancelled: usize,
}

enum Entry {
    Vacant,
    /// The member with this number is started, or about to be; its canceller follows. The number
    /// tells it from an earlier member that ended before its own canceller was enlisted.
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
        let entry = match state.free.pop() {
            Some(entry) => entry,
            None => {
                state.entries.push(Entry::Vacant);
                state.entries.len() - 1
            }
        };
        state.entries[entry] = Entry::Starting(number);
        let refusal = state.ending.clone();
        drop(state);
        let ticket = Ticket { entry, number };
        Member { shared: Arc::clone(self), ticket, refusal, argument: None }
    }

    /// Notes the canceller of a task that was started.
    pub(super) fn enlist(&self, ticket: Ticket, canceller: Canceller) {
        let mut state = self.lock();
        let is_starting = matches!(state.entries[ticket.entry],
            Entry::Starting(number) if number == ticket.number);
        if !is_starting {
            // The task has ended already; another member may have the entry by now.
            return;
        }
        match state.ending.clone() {
            Some(reason) => {
                drop(state);
                canceller.cancel_because(reason);
            }
            None => state.entries[ticket.entry] = Entry::Live(canceller),
        }
    }

    /// Cancels all tasks, also later ones.
    pub(super) fn end_all(&self, reason: impl Into<Arc<str>>) {
        let mut state = self.lock();
        if state.ending.is_some() {
            return;
        }
        let reason: Arc<str> = reason.into();
        state.ending = Some(Arc::clone(&reason));
        let entries = state.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Live(canceller) => Some(canceller.clone()),
            _ => None,
        });
        let all: Vec<Canceller> = entries.collect();
        drop(state);
        // A task that has not begun ends in this call, which drops its member.
        for canceller in all {
            canceller.cancel_because(Arc::clone(&reason));
        }
    }

    /// Returns true if all tasks are cancelled.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().ending.is_some()
    }

    /// Records the error of a task.
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
        if state.first.is_none() && !state.returned {
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

    /// Ends the scope for an error that a function returned. Returns true if it is the first
    /// failure.
    pub(super) fn fail_returned(&self, by: &str) -> bool {
        let mut state = self.lock();
        let is_first = state.first.is_none() && !state.returned;
        state.returned |= is_first;
        state.failed += 1;
        drop(state);
        self.end_all(format!("{by} has returned an error"));
        self.body.end();
        is_first
    }

    /// Waits until the last task has ended, even if the caller is interrupted.
    ///
    /// # Errors
    ///
    /// The caller was interrupted, and at least one task was cancelled.
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
                self.end_all(why.as_reason());
                interrupted = Some(why);
            }
        }
        match interrupted {
            Some(why) if self.lock().cancelled > 0 => Err(why),
            _ => Ok(()),
        }
    }

    /// Returns true if no member is left.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().live == 0
    }

    /// Has the caller woken when no member is left, until the result is dropped.
    pub(super) fn watch(&self) -> Watcher<'_> {
        let waker = park::waker();
        let mut state = self.lock();
        state.watched += 1;
        let number = state.watched;
        state.watchers.push((number, waker));
        Watcher { shared: self, number }
    }

    /// Returns true if a failure ends the body and the other tasks.
    pub(super) fn ends_all(&self) -> bool {
        self.policy == Policy::EndAll
    }

    /// Adds the panic of the body to the failure that came before it.
    pub(super) fn suppress(&self, error: TaskError) {
        self.lock().later.push(error);
    }

    pub(super) fn has_failed(&self) -> bool {
        let state = self.lock();
        state.first.is_some() || state.returned
    }

    pub(super) fn failed(&self) -> usize {
        self.lock().failed
    }

    pub(super) fn take_failures(&self) -> (Option<TaskError>, Vec<TaskError>) {
        let mut state = self.lock();
        (state.first.take(), std::mem::take(&mut state.later))
    }

    /// Locks the state. No code of a task runs under this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those that are woken when no member is left.
pub(super) struct Watcher<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let place = state.watchers.iter().position(|(number, _)| *number == self.number);
        let own = place.map(|place| state.watchers.swap_remove(place));
        drop(state);
        drop(own);
    }
}

/// The identity of a member: its entry, and its number among the members that had that entry.
#[derive(Clone, Copy)]
pub(super) struct Ticket {
    entry: usize,
    number: u64,
}

/// One task of a scope, for as long as it may touch borrowed data.
pub(super) struct Member {
    shared: Arc<Shared>,
    pub(super) ticket: Ticket,
    /// The reason not to run the task: it was started after all were cancelled.
    pub(super) refusal: Option<Arc<str>>,
    /// The index of the task's item among those of its map.
    pub(super) argument: Option<usize>,
}

impl Member {
    /// Records the error of the task.
    pub(super) fn fail(&self, error: &TaskError) {
        let error = error.clone();
        self.shared.fail(match self.argument {
            Some(argument) => error.with_argument(argument),
            None => error,
        });
    }

    /// Records that the task's function is dropped uncalled. It is the first destructor of the
    /// function.
    pub(super) fn refuse(&self, task: Option<TaskInfo>) {
        // Only the refusal of a task drops a member's function.
        let cause = job::refusal().unwrap_or(Cause::Cancelled { reason: None });
        self.fail(&TaskError::new(cause, task));
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.entries[self.ticket.entry] = Entry::Vacant;
        state.free.push(self.ticket.entry);
        state.live -= 1;
        if state.live > 0 {
            return;
        }
        let waker = state.waker.take();
        let watchers: Vec<Waker> = state.watchers.iter().map(|(_, waker)| waker.clone()).collect();
        drop(state);
        for waker in watchers.into_iter().chain(waker) {
            park::wake(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{coroutine, time};

    #[test]
    fn a_member_that_ended_before_it_was_enlisted_leaves_the_next_in_its_entry_alone() {
        let shared = Shared::new(Policy::EndAll);
        let early = shared.enter();
        let ticket = early.ticket;
        drop(early);
        let member = shared.enter();
        assert_eq!(member.ticket.entry, ticket.entry);
        let ended = coroutine::spawn(|| ());
        let task = coroutine::spawn(|| time::sleep(Duration::MAX));
        shared.enlist(ticket, ended.canceller());
        shared.enlist(member.ticket, task.canceller());
        shared.end_all("the test is over");
        assert!(task.join().unwrap_err().is_cancelled());
        ended.join().unwrap();
    }
}
