//! The state of a future task: its carrier drops the future once, and the memory is freed once,
//! after the last access of all parties.

use std::sync::Arc;
use std::sync::atomic::Ordering::AcqRel;

use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::sync::atomic::AtomicUsize;

use super::atomic::{is_freed, set_freed};
use super::state::{AfterPoll, AfterRelease, State, Turn};

struct Task {
    state: State,
    /// The counts of the `Arc`: of wakers and queue, of the handle, of the canceller.
    counts: AtomicUsize,
    /// Taken by the party that queues the task, which runs its turn as the carrier.
    carrier: Mutex<()>,
    /// True while the future is there.
    future: UnsafeCell<bool>,
}

impl Task {
    /// Makes a task after its first turn, which has left `wakers` wakers.
    fn at_rest(wakers: usize, counts: usize) -> Task {
        let state = State::new();
        assert_eq!(state.begin_turn(), Turn::Poll);
        (0..wakers).for_each(|_| state.add_reference());
        assert_eq!(state.end_poll(), AfterPoll::Rest);
        Task {
            state,
            counts: AtomicUsize::new(counts),
            carrier: Mutex::new(()),
            future: UnsafeCell::new(true),
        }
    }

    fn free(&self) {
        match self.counts.fetch_sub(1, AcqRel) {
            0 => panic!("freed twice"),
            1 => set_freed(true),
            _ => {}
        }
    }

    fn turn(&self) {
        let _carrier = self.carrier.lock().unwrap();
        loop {
            if self.state.begin_turn() == Turn::Poll {
                // SAFETY: the turn's; loom reports it if not.
                self.future.with(|there| assert!(unsafe { *there }));
                match self.state.end_poll() {
                    AfterPoll::Rest => return,
                    AfterPoll::Queue => continue,
                    AfterPoll::Close => {}
                }
            }
            // SAFETY: as above.
            self.future.with_mut(|there| assert!(unsafe { std::mem::replace(&mut *there, false) }));
            if self.state.end() == AfterRelease::Free {
                self.free();
            }
            return;
        }
    }

    fn release(&self) {
        match self.state.release() {
            AfterRelease::Nothing => {}
            AfterRelease::Queue => self.turn(),
            AfterRelease::Free => self.free(),
        }
    }

    fn wake(&self) {
        if self.state.wake() { self.turn() } else { self.release() }
    }

    fn wake_by_ref(&self) {
        if self.state.wake() {
            self.state.add_reference();
            self.turn();
        }
    }

    fn detach(&self) {
        if self.state.detach() == AfterRelease::Queue {
            self.turn();
        }
        self.free();
    }

    fn cancel(&self) {
        if self.state.close() {
            self.state.add_reference();
            self.turn();
        }
        self.free();
    }
}

/// Runs `threads` on a task with so many wakers and a handle, which is the first count. They use
/// all of them up.
fn check(wakers: usize, cancellers: usize, threads: &'static [fn(&Task)]) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.check(move || {
        set_freed(false);
        let task = Arc::new(Task::at_rest(wakers, 2 + cancellers));
        let (first, others) = threads.split_first().expect("somebody");
        let others: Vec<_> = others
            .iter()
            .map(|run| {
                let task = Arc::clone(&task);
                loom::thread::spawn(move || run(&task))
            })
            .collect();
        first(&task);
        for other in others {
            other.join().unwrap();
        }
        assert!(is_freed(), "somebody has forgotten to free the task");
        set_freed(false);
    });
}

#[test]
fn the_last_waker_goes_while_the_task_is_cancelled() {
    check(
        1,
        1,
        &[
            |task| {
                task.detach();
                task.release();
            },
            Task::cancel,
        ],
    );
}

#[test]
fn waker_handle_and_canceller_end_at_once() {
    check(1, 1, &[Task::wake, Task::detach, Task::cancel]);
    check(1, 1, &[Task::release, Task::detach, Task::cancel]);
}

#[test]
fn two_wakers_and_the_handle_end_at_once() {
    check(2, 0, &[Task::wake, Task::release, Task::detach]);
    check(
        2,
        0,
        &[
            |task| {
                task.wake_by_ref();
                task.release();
            },
            Task::release,
            Task::detach,
        ],
    );
}

#[test]
fn two_cancel_at_once() {
    check(
        1,
        2,
        &[Task::cancel, Task::cancel, |task| {
            task.detach();
            task.wake();
        }],
    );
}
