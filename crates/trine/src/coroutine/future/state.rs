//! The word at which the turns, the wake-ups and the references of a future task meet.
//!
//! ```text
//!   63                              5    4      3      2        1        0
//!  ┌─────────────────────────────────┬────────┬──────┬────────┬─────────┬────────┐
//!  │ references: wakers, and one for │ HANDLE │ GONE │ CLOSED │ POLLING │ QUEUED │
//!  │ whoever has it queued or polls  │        │      │        │         │        │
//!  └─────────────────────────────────┴────────┴──────┴────────┴─────────┴────────┘
//!
//!    spawn           turn               Pending
//!   ──────► QUEUED ────────► POLLING ─────────────────► (at rest)
//!             ▲  ▲              │ │ wake                    │
//!             │  └── Pending ── │ └──► POLLING|QUEUED       │
//!             └─────────────────┼───────────────────────────┘ wake, or nobody is left to do so
//!                               └──► GONE   Ready, a panic, or CLOSED
//! ```
//!
//! Whoever sets `QUEUED` in a word at rest has to queue the task, nobody else may. So it is in one queue
//! at most, and is polled by one at most.
//!
//! Ordering: a waker may have written what the future waits for, so each wake-up is a
//! read-modify-write with `Release`, also when `QUEUED` is set already, and a turn begins with
//! `Acquire`. Each reference is given up with `Release`, and the last one takes with `Acquire` what
//! the others did.

use std::sync::atomic::Ordering::{AcqRel, Relaxed};

use crate::sync::atomic::AtomicUsize;

/// In a queue, or on the way there. Set by the spawn and by wake-ups, cleared at the turn's begin.
/// Excludes nothing: while it is polled it means "once more".
const QUEUED: usize = 1 << 0;
/// It has its turn. Set and cleared by the carrier.
const POLLING: usize = 1 << 1;
/// Not to be polled again; its next turn drops it. Set with `QUEUED`, stays.
const CLOSED: usize = 1 << 2;
/// The future was dropped. Set by the carrier at the end of the last turn, stays.
const GONE: usize = 1 << 3;
/// The task's handle is there, whose owner may wait for the end. Cleared when it is detached.
const HANDLE: usize = 1 << 4;
/// One reference.
const REFERENCE: usize = 1 << 5;

/// The word of one future task.
#[derive(Debug)]
pub(in crate::coroutine) struct State(AtomicUsize);

/// What a turn has to do.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(in crate::coroutine) enum Turn {
    Poll,
    /// Drop the future.
    Close,
}

/// What follows a poll that was `Pending`.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(in crate::coroutine) enum AfterPoll {
    /// Nothing: the reference is given up, the task is others' to queue.
    Rest,
    /// Queue it again, with the same reference.
    Queue,
    /// Nobody can wake it, nobody waits for it: it still has its turn, which has to drop it.
    Close,
}

/// What is left to do for whoever gave something up.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(in crate::coroutine) enum AfterRelease {
    Nothing,
    /// Queue the task, with a reference that was made for it: its turn will drop the future.
    Queue,
    /// Free the task.
    Free,
}

impl State {
    /// A task that is about to be queued for the first time.
    pub(in crate::coroutine) fn new() -> State {
        State(AtomicUsize::new(QUEUED | HANDLE | REFERENCE))
    }

    /// Adds a reference, for an owner of one.
    pub(in crate::coroutine) fn add_reference(&self) {
        self.0.fetch_add(REFERENCE, Relaxed);
    }

    /// `true`: the task was at rest, and the caller has to queue it, with a reference.
    #[must_use]
    pub(in crate::coroutine) fn wake(&self) -> bool {
        self.0.fetch_or(QUEUED, AcqRel) & (QUEUED | POLLING | GONE) == 0
    }

    /// The next turn is to drop the future. `true`: as of [`wake`](State::wake).
    #[must_use]
    pub(in crate::coroutine) fn close(&self) -> bool {
        self.0.fetch_or(CLOSED | QUEUED, AcqRel) & (QUEUED | POLLING | GONE) == 0
    }

    /// A task that was queued has its turn.
    pub(in crate::coroutine) fn begin_turn(&self) -> Turn {
        let before = self.0.fetch_xor(QUEUED | POLLING, AcqRel);
        if before & CLOSED == 0 { Turn::Poll } else { Turn::Close }
    }

    /// A turn ends with the future still there.
    pub(in crate::coroutine) fn end_poll(&self) -> AfterPoll {
        let before = self.0.fetch_sub(POLLING + REFERENCE, AcqRel);
        if before & QUEUED != 0 {
            // `QUEUED` keeps everybody else from touching what has no reference for a moment.
            self.0.fetch_add(REFERENCE, Relaxed);
            AfterPoll::Queue
        } else if before / REFERENCE == 1 && before & HANDLE == 0 {
            let rest = before - POLLING - REFERENCE;
            match self.0.compare_exchange(rest, POLLING | CLOSED | REFERENCE, AcqRel, Relaxed) {
                Ok(_) => AfterPoll::Close,
                // It was cancelled just now, and whoever did that has to queue it.
                Err(_) => AfterPoll::Rest,
            }
        } else {
            AfterPoll::Rest
        }
    }

    /// A turn ends with the future gone.
    pub(in crate::coroutine) fn end(&self) -> AfterRelease {
        let before = self.0.fetch_sub(POLLING + REFERENCE - GONE, AcqRel);
        if before / REFERENCE == 1 { AfterRelease::Free } else { AfterRelease::Nothing }
    }

    /// Gives a waker's reference up.
    ///
    /// In one step: whoever is without a reference may not look at the word again, since a canceller
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

    /// The handle is detached, by one who keeps the task alive.
    pub(in crate::coroutine) fn detach(&self) -> AfterRelease {
        let rest = self.0.fetch_and(!HANDLE, AcqRel) & !HANDLE;
        if !is_abandoned(rest) {
            return AfterRelease::Nothing;
        }
        // A canceller that is quicker has to queue the task.
        match self.0.compare_exchange(rest, QUEUED | CLOSED | REFERENCE, AcqRel, Relaxed) {
            Ok(_) => AfterRelease::Queue,
            Err(_) => AfterRelease::Nothing,
        }
    }
}

/// At rest, no handle and no reference: nobody but a canceller can reach the word.
fn is_abandoned(word: usize) -> bool {
    word < REFERENCE && word & (QUEUED | POLLING | HANDLE | GONE) == 0
}

#[cfg(all(test, not(trine_loom)))]
mod tests {
    use super::*;

    /// A state after a first poll that has left `wakers` wakers somewhere.
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
        // During a poll they queue nothing, but make its end do so.
        assert!(!state.wake() && !state.wake());
        assert_eq!(state.end_poll(), AfterPoll::Queue);
        assert_eq!(state.begin_turn(), Turn::Poll);
        assert_eq!(state.end_poll(), AfterPoll::Rest);
    }

    #[test]
    fn the_last_reference_frees_what_is_gone() {
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
    fn a_cancellation_queues_what_rests_and_closes_what_is_on_its_way() {
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
    fn who_leaves_last_closes_what_nobody_can_wake() {
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
