//! A future task as `future/mod.rs` makes it of its state: in one queue at most, polled by one
//! carrier at most, freed once.

use std::sync::atomic::AtomicUsize as Plain;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use super::state::{AfterPoll, AfterRelease, State, Turn};
use crate::check;
use crate::sync::atomic::AtomicUsize;

/// A task. The `Plain` fields are for the assertions alone: loom does not see them, so they order
/// nothing.
struct Task {
    state: State,
    /// True while the future is there. Loom reports two accesses that are not ordered.
    future: loom::cell::UnsafeCell<bool>,
    /// The events that the wakers report, a bit each.
    events: AtomicUsize,
    /// The future is ready when these have happened.
    wanted: usize,
    queued: Plain,
    carrier: loom::sync::Notify,
    is_closed: Plain,
    freed: Plain,
    /// True if the model begins in the middle of a poll.
    is_in_poll: bool,
}

// SAFETY: loom reports any access that this would make unsound.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

/// Events that never happen.
const NEVER: usize = 1 << 8;

impl Task {
    /// Makes a task that was just queued, and will leave no waker.
    fn queued() -> Task {
        let task = Task {
            state: State::new(),
            future: loom::cell::UnsafeCell::new(true),
            events: AtomicUsize::new(0),
            wanted: NEVER,
            queued: Plain::new(0),
            carrier: loom::sync::Notify::new(),
            is_closed: Plain::new(0),
            freed: Plain::new(0),
            is_in_poll: false,
        };
        task.queue();
        task
    }

    /// Makes a task in the middle of its first poll, which has found nothing and has left `wakers`
    /// wakers.
    fn polled(wakers: usize, wanted: usize) -> Task {
        let task = Task { wanted, is_in_poll: true, ..Task::queued() };
        task.queued.store(0, SeqCst);
        assert_eq!(task.state.begin_turn(), Turn::Poll);
        (0..wakers).for_each(|_| task.state.add_reference());
        task
    }

    fn assert_alive(&self) {
        assert_eq!(self.freed.load(SeqCst), 0, "it was freed");
    }

    fn queue(&self) {
        self.assert_alive();
        assert_eq!(self.queued.fetch_add(1, SeqCst), 0, "it is in a queue already");
        self.carrier.notify();
    }

    fn free(&self) {
        assert_eq!(self.freed.fetch_add(1, SeqCst), 0, "freed twice");
        assert_eq!(self.queued.load(SeqCst), 0, "freed in a queue");
        // SAFETY: as above.
        self.future.with(|future| assert!(!unsafe { *future }, "freed with its future"));
    }

    /// Gives the task turns until the future is dropped, as the carrier.
    fn carry(&self) {
        let mut is_over = self.is_in_poll && self.after_poll();
        while !is_over {
            if self.queued.swap(0, SeqCst) == 0 {
                self.carrier.wait();
            } else {
                is_over = self.turn();
            }
        }
    }

    /// Runs a turn. Returns true if it was the last.
    fn turn(&self) -> bool {
        self.assert_alive();
        let is_closed = self.is_closed.load(SeqCst) != 0;
        match self.state.begin_turn() {
            Turn::Poll => {
                assert!(!is_closed, "polled after it was closed");
                // SAFETY: as above.
                self.future.with_mut(|future| assert!(unsafe { *future }, "polled when gone"));
                if self.events.load(Relaxed) != self.wanted {
                    return self.after_poll();
                }
            }
            Turn::Close => {}
        }
        self.end();
        true
    }

    fn after_poll(&self) -> bool {
        match self.state.end_poll() {
            AfterPoll::Rest => return false,
            AfterPoll::Queue => return self.turn(),
            AfterPoll::Close => self.end(),
        }
        true
    }

    fn end(&self) {
        self.assert_alive();
        self.future.with_mut(|future| {
            // SAFETY: as above.
            let is_there = unsafe { std::mem::replace(&mut *future, false) };
            assert!(is_there, "dropped twice");
        });
        if self.state.end() == AfterRelease::Free {
            self.free();
        }
    }

    fn report(&self, bit: usize) {
        self.events.fetch_add(bit, Relaxed);
    }

    // From here on: the calls of a waker and of the handle, as `future/mod.rs` makes them.

    fn clone_waker(&self) {
        self.assert_alive();
        self.state.add_reference();
    }

    fn wake_by_ref(&self) {
        self.assert_alive();
        if self.state.wake() {
            self.state.add_reference();
            self.queue();
        }
    }

    fn wake(&self) {
        self.assert_alive();
        if self.state.wake() { self.queue() } else { self.release() }
    }

    fn release(&self) {
        self.assert_alive();
        match self.state.release() {
            AfterRelease::Nothing => {}
            AfterRelease::Queue => self.queue(),
            AfterRelease::Free => self.free(),
        }
    }

    fn detach(&self) {
        match self.state.detach() {
            AfterRelease::Nothing => {}
            AfterRelease::Queue => self.queue(),
            AfterRelease::Free => panic!("the handle has its own count"),
        }
    }

    fn close(&self) {
        if self.state.close() {
            self.state.add_reference();
            self.queue();
        }
        self.is_closed.store(1, SeqCst);
    }

    /// Asserts that all references were given up.
    fn assert_freed(&self) {
        assert_eq!(self.freed.load(SeqCst), 1);
    }
}

fn report_1_and_wake(task: &Task) {
    task.report(1);
    task.wake();
}

fn report_2_and_wake_by_reference(task: &Task) {
    task.report(2);
    task.wake_by_ref();
    task.release();
}

#[test]
fn two_wake_ups_are_seen_by_a_poll_each_or_by_one() {
    check(
        3,
        || Task::polled(2, 3),
        &[Task::carry, report_1_and_wake, report_2_and_wake_by_reference],
        |task| {
            task.assert_freed();
            task.detach();
        },
    );
}

#[test]
fn one_wakes_a_clone_twice() {
    check(
        3,
        || Task::polled(1, 3),
        &[Task::carry, |task| {
            task.clone_waker();
            report_1_and_wake(task);
            report_2_and_wake_by_reference(task);
        }],
        Task::assert_freed,
    );
}

#[test]
fn a_wake_up_beside_a_cancellation() {
    check(
        3,
        || Task::polled(1, 1),
        &[Task::carry, report_1_and_wake, Task::close],
        Task::assert_freed,
    );
    check(
        3,
        || Task::polled(1, NEVER),
        &[Task::carry, report_1_and_wake, Task::close],
        Task::assert_freed,
    );
}

#[test]
fn two_cancellations_and_a_waker_that_is_dropped() {
    check(
        3,
        || Task::polled(1, NEVER),
        &[Task::carry, Task::close, Task::close, Task::release],
        Task::assert_freed,
    );
}

#[test]
fn the_handle_and_the_last_waker_go() {
    check(
        4,
        || Task::polled(1, NEVER),
        &[Task::carry, Task::release, Task::detach],
        Task::assert_freed,
    );
    check(
        4,
        || Task::polled(1, NEVER),
        &[Task::carry, report_1_and_wake, Task::detach],
        Task::assert_freed,
    );
}

#[test]
fn the_handle_and_two_wakers_go_one_after_a_wake_up() {
    check(
        2,
        || Task::polled(2, NEVER),
        &[
            Task::carry,
            |task| {
                task.clone_waker();
                task.release();
                task.release();
            },
            report_2_and_wake_by_reference,
            Task::detach,
        ],
        Task::assert_freed,
    );
}

#[test]
fn the_handle_and_the_last_waker_go_beside_a_cancellation() {
    check(
        3,
        || Task::polled(1, NEVER),
        &[Task::carry, Task::release, Task::detach, Task::close],
        Task::assert_freed,
    );
}

#[test]
fn a_task_that_nobody_can_wake_is_detached_and_cancelled() {
    check(3, Task::queued, &[Task::carry, Task::detach, Task::close], Task::assert_freed);
    check(3, Task::queued, &[Task::carry, Task::detach], Task::assert_freed);
}
