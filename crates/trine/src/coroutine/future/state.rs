//! The word at which the turns, the wake-ups and the references of a future task meet.
//!
//! ```text
//!   63                              5    4      3      2        1        0
//!  ┌─────────────────────────────────┬────────┬──────┬────────┬─────────┬────────┐
//!  │ references: wakers, and one for │ HANDLE │ GONE │ CLOSED │ POLLING │ QUEUED │
//!  │ the party that queues or polls  │        │      │        │         │        │
//!  └─────────────────────────────────┴────────┴──────┴────────┴─────────┴────────┘
//!
//!    spawn           turn               Pending
//!   ──────► QUEUED ────────► POLLING ─────────────────► (at rest)
//!             ▲  ▲              │ │ wake                    │
//!             │  └── Pending ── │ └──► POLLING|QUEUED       │
//!             └─────────────────┼───────────────────────────┘ wake, or no waker is left
//!                               └──► GONE   Ready, a panic, or CLOSED
//! ```
//!
//! The party that sets `QUEUED` in a word at rest has to enqueue the task, and no other party may.
//! So the task is in one queue at most, and one carrier at most polls it.
//!
//! Ordering: a waker may have written the value that the future waits for. So each wake-up is a
//! read-modify-write with `Release`, also when `QUEUED` is already set, and a turn begins with
//! `Acquire`. Each reference is given up with `Release`, and the last one acquires the writes of
//! the others.

use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use crate::sync::atomic::AtomicUsize;

/// In a queue, or on the way there. Set by the spawn and by wake-ups, cleared at the start of a
/// turn. Excludes nothing: during a poll it means "once more".
const QUEUED: usize = 1 << 0;
/// In its turn. Set and cleared by the carrier.
const POLLING: usize = 1 << 1;
/// Not to be polled again; its next turn drops it. Set with `QUEUED`, stays.
const CLOSED: usize = 1 << 2;
/// The future was dropped. Set by the carrier at the end of the last turn, stays.
const GONE: usize = 1 << 3;
/// The task has its handle, whose owner may wait for the end. Cleared when it is detached.
const HANDLE: usize = 1 << 4;
/// One reference.
const REFERENCE: usize = 1 << 5;

/// The state of one future task.
#[derive(Debug)]
pub(in crate::coroutine) struct State(AtomicUsize);

/// The work of a turn.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(in crate::coroutine) enum Turn {
    Poll,
    /// Drop the future.
    Close,
}

/// The next step after a poll that was `Pending`.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(in crate::coroutine) enum AfterPoll {
    /// Nothing: the reference is given up, and other parties queue the task.
    Rest,
    /// Enqueue the task again, with the same reference.
    Queue,
    /// Drop the future: no party can wake the task or waits for it. It still has its turn.
    Close,
}

/// The next step of a party that gave something up.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(in crate::coroutine) enum AfterRelease {
    Nothing,
    /// Enqueue the task, with a reference that was made for it. Its turn will drop the future.
    Queue,
    /// Free the task.
    Free,
}

impl State {
    /// Makes the state of a task that is about to be queued for the first time.
    pub(in crate::coroutine) fn new() -> State {
        State(AtomicUsize::new(QUEUED | HANDLE | REFERENCE))
    }

    /// Adds a reference, for the owner of another one.
    pub(in crate::coroutine) fn add_reference(&self) {
        self.0.fetch_add(REFERENCE, Relaxed);
    }

    /// Notes a wake-up. Returns true if the task was at rest: then the caller has to enqueue it,
    /// with a reference.
    #[must_use]
    pub(in crate::coroutine) fn wake(&self) -> bool {
        self.0.fetch_or(QUEUED, AcqRel) & (QUEUED | POLLING | GONE) == 0
    }

    /// Has the next turn drop the future. Returns true as [`wake`](State::wake) does.
    #[must_use]
    pub(in crate::coroutine) fn close(&self) -> bool {
        self.0.fetch_or(CLOSED | QUEUED, AcqRel) & (QUEUED | POLLING | GONE) == 0
    }

    /// Begins the turn of a task that was queued.
    pub(in crate::coroutine) fn begin_turn(&self) -> Turn {
        let before = self.0.fetch_xor(QUEUED | POLLING, AcqRel);
        if before & CLOSED == 0 { Turn::Poll } else { Turn::Close }
    }

    /// Ends a turn that leaves the future in place.
    pub(in crate::coroutine) fn end_poll(&self) -> AfterPoll {
        let before = self.0.fetch_sub(POLLING + REFERENCE, AcqRel);
        if before & QUEUED != 0 {
            // `QUEUED` keeps all other parties from touching the task while it has no reference.
            self.0.fetch_add(REFERENCE, Relaxed);
            AfterPoll::Queue
        } else if before / REFERENCE == 1 && before & HANDLE == 0 {
            let rest = before - POLLING - REFERENCE;
            match self.0.compare_exchange(rest, POLLING | CLOSED | REFERENCE, AcqRel, Relaxed) {
                Ok(_) => AfterPoll::Close,
                // A canceller was quicker, and has to enqueue the task.
                Err(_) => AfterPoll::Rest,
            }
        } else {
            AfterPoll::Rest
        }
    }

    /// Ends the turn that has dropped the future.
    pub(in crate::coroutine) fn end(&self) -> AfterRelease {
        let before = self.0.fetch_sub(POLLING + REFERENCE - GONE, AcqRel);
        if before / REFERENCE == 1 { AfterRelease::Free } else { AfterRelease::Nothing }
    }

    /// Gives up a waker's reference.
    ///
    /// In one step: a party without a reference may not look at the word again, since a canceller
    /// may queue the task, and its turn free it.
    pub(in crate::coroutine) fn release(&self) -> AfterRelease {
        let mut before = self.0.load(Relaxed);
        loop {
            let rest = before - REFERENCE;
            let (next, left) = match rest {
                REFERENCE.. => (rest, AfterRelease::Nothing),
                _ if rest & GONE != 0 => (rest, AfterRelease::Free),
                _ if is_abandoned(rest) => (QUEUED | CLOSED | REFERENCE, AfterRelease::Queue),
                _ => (rest, AfterRelease::Nothing),
            };
            match self.0.compare_exchange_weak(before, next, AcqRel, Relaxed) {
                Ok(_) => return left,
                Err(seen) => before = seen,
            }
        }
    }

    /// Detaches the handle, for a caller that keeps the task alive.
    pub(in crate::coroutine) fn detach(&self) -> AfterRelease {
        let rest = self.0.fetch_and(!HANDLE, AcqRel) & !HANDLE;
        if !is_abandoned(rest) {
            return AfterRelease::Nothing;
        }
        // A canceller that is quicker has to enqueue the task.
        match self.0.compare_exchange(rest, QUEUED | CLOSED | REFERENCE, AcqRel, Relaxed) {
            Ok(_) => AfterRelease::Queue,
            Err(_) => AfterRelease::Nothing,
        }
    }
}

/// Returns true for a task at rest without handle and reference: only a canceller can reach it.
fn is_abandoned(word: usize) -> bool {
    word < REFERENCE && word & (QUEUED | POLLING | HANDLE | GONE) == 0
}

#[cfg(all(test, not(trine_loom)))]
mod tests {
    use super::*;

    /// Makes a state after a first poll that has left `wakers` wakers.
    fn at_rest(wakers: usize) -> State {
        let state = State::new();
        assert_eq!(state.begin_turn(), Turn::Poll);
        (0..wakers).for_each(|_| state.add_reference());
        assert_eq!(state.end_poll(), AfterPoll::Rest);
        state
    }

    #[test]
    fn many_wake_ups_queue_a_task_once() {
        let state = at_rest(2);
        assert!(state.wake());
        assert!(!state.wake());
        state.add_reference();
        assert_eq!(state.begin_turn(), Turn::Poll);
        // During a poll wake-ups queue nothing, but have its end do so.
        assert!(!state.wake() && !state.wake());
        assert_eq!(state.end_poll(), AfterPoll::Queue);
        assert_eq!(state.begin_turn(), Turn::Poll);
        assert_eq!(state.end_poll(), AfterPoll::Rest);
    }

    #[test]
    fn the_last_reference_frees_an_ended_task() {
        let state = at_rest(2);
        assert!(state.wake());
        state.add_reference();
        assert_eq!(state.begin_turn(), Turn::Poll);
        assert_eq!(state.end(), AfterRelease::Nothing);
        assert!(!state.wake());
        assert_eq!(state.release(), AfterRelease::Nothing);
        assert_eq!(state.release(), AfterRelease::Free);
        assert_eq!(state.detach(), AfterRelease::Nothing);
    }

    #[test]
    fn a_cancellation_queues_a_resting_task_and_closes_a_queued_one() {
        let state = at_rest(1);
        assert!(state.close());
        state.add_reference();
        assert!(!state.close() && !state.wake());
        assert_eq!(state.begin_turn(), Turn::Close);
        assert_eq!(state.end(), AfterRelease::Nothing);
        assert!(!state.close());
        assert_eq!(state.release(), AfterRelease::Free);

        let state = State::new();
        assert!(!state.close(), "it is queued already");
        assert_eq!(state.begin_turn(), Turn::Close);

        let state = State::new();
        assert_eq!(state.begin_turn(), Turn::Poll);
        assert!(!state.close());
        assert_eq!(state.end_poll(), AfterPoll::Queue);
        assert_eq!(state.begin_turn(), Turn::Close);
    }

    #[test]
    fn the_last_party_to_leave_closes_a_task_without_wakers() {
        let state = at_rest(1);
        assert_eq!(state.release(), AfterRelease::Nothing);
        assert_eq!(state.detach(), AfterRelease::Queue);
        assert_eq!(state.begin_turn(), Turn::Close);
        assert_eq!(state.end(), AfterRelease::Free);

        let state = at_rest(1);
        assert_eq!(state.detach(), AfterRelease::Nothing);
        assert_eq!(state.release(), AfterRelease::Queue);
        assert_eq!(state.begin_turn(), Turn::Close);
        assert_eq!(state.end(), AfterRelease::Free);

        let state = State::new();
        assert_eq!(state.detach(), AfterRelease::Nothing);
        assert_eq!(state.begin_turn(), Turn::Poll);
        assert_eq!(state.end_poll(), AfterPoll::Close);
        assert_eq!(state.end(), AfterRelease::Free);
    }
}
