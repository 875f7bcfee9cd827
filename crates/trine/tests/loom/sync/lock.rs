//! Replaces `src/sync/lock.rs` under channels: one step instead of several, which are checked in
//! `short_locks.rs`.

use std::collections::VecDeque;
use std::sync::Mutex;

use loom::sync::atomic::AtomicUsize;
use loom::sync::atomic::Ordering::AcqRel;
use loom::thread::{self, Thread};

pub(super) struct Lock {
    /// Each step is an access of it, for loom to order and to try in all orders.
    steps: AtomicUsize,
    /// In a mutex of std, which is free whenever loom lets another thread run.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_taken: bool,
    waiting: VecDeque<Thread>,
}

impl Lock {
    pub(super) fn new() -> Lock {
        Lock { steps: AtomicUsize::new(0), state: Mutex::default() }
    }

    pub(super) fn lock(&self) {
        self.steps.fetch_add(1, AcqRel);
        while std::mem::replace(&mut self.state.lock().unwrap().is_taken, true) {
            self.state.lock().unwrap().waiting.push_back(thread::current());
            thread::park();
            self.steps.fetch_add(1, AcqRel);
        }
    }

    /// Unlocks. Only for the holder.
    pub(super) fn unlock(&self) {
        self.steps.fetch_add(1, AcqRel);
        let mut state = self.state.lock().unwrap();
        state.is_taken = false;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.iter().for_each(Thread::unpark);
    }
}
