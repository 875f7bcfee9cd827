//! The door from the pools to the service thread: forks, alarms and retirement are requested here.
//!
//! ```text
//!   pool/dispatcher.rs ── request_forks, set_*_alarm, retire ──► Requests ◄── takes them ─┐
//!          ▲                                                                              │
//!          └─ joined, answered, hung_up, died, refused, withdraw, check ── thread.rs ─────┘
//! ```
//!
//! The thread calls the dispatchers directly, as it knows them. A dispatcher must not know the
//! thread, or both would be one piece: it only leaves requests, and the thread takes them before it
//! sleeps. Besides this file, pools use `spec.rs` and `capture.rs`, which hold data only, and
//! `pool/mod.rs` starts the service.
//!
//! The type `P` of a pool is not known here, for the same reason.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use super::alarms::{Alarm, Alarms, Key};
use crate::process::task::record::Submitted;
use crate::sys::io::poll::{Bell, Poll};
use crate::sys::observe;
use crate::sys::process::fork_detect::Mark;

/// The part of the service that other threads see.
pub(in crate::process) struct Requests<P> {
    pub(super) poll: Arc<Poll>,
    pub(super) bell: Bell,
    /// Requested workers: the pool, and the number.
    forks: Mutex<Vec<(Arc<P>, usize)>>,
    /// Pools that were closed.
    retiring: Mutex<Vec<Arc<P>>>,
    pub(super) alarms: Alarms<P>,
    /// The mark of the process that the service thread runs in.
    mark: Mark,
    thread: OnceLock<u32>,
}

/// The number under which the service watches its bell.
pub(super) const BELL: u64 = 0;

impl<P> Requests<P> {
    /// # Errors
    ///
    /// There is no descriptor left.
    pub(super) fn new(mark: Mark) -> io::Result<Requests<P>> {
        let requests = Requests {
            poll: Arc::new(Poll::new()?),
            bell: Bell::new()?,
            forks: Mutex::default(),
            retiring: Mutex::default(),
            alarms: Alarms::new(),
            mark,
            thread: OnceLock::new(),
        };
        requests.poll.add(&requests.bell, BELL)?;
        Ok(requests)
    }

    /// Returns true if the service thread runs in this process. A child made by `fork` has the
    /// memory of the service, and not its thread.
    pub(in crate::process) fn is_ours(&self) -> bool {
        !self.mark.is_in_copy()
    }

    /// Requests `count` workers for `pool`.
    pub(in crate::process) fn request_forks(&self, pool: &Arc<P>, count: usize) {
        let mut forks = self.forks.lock().unwrap_or_else(PoisonError::into_inner);
        forks.push((Arc::clone(pool), count));
        drop(forks);
        self.ring();
    }

    /// Retires a closed pool: it gets no workers that it does not need.
    pub(in crate::process) fn retire(&self, pool: &Arc<P>) {
        self.retiring.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(pool));
        self.ring();
    }

    /// Has the pool look at one of its tasks at this moment.
    pub(in crate::process) fn set_task_alarm(
        &self,
        at: Instant,
        pool: &Arc<P>,
        task: Arc<dyn Submitted>,
    ) {
        self.set_alarm(at, Alarm { pool: Arc::downgrade(pool), task: Some(task) });
    }

    /// Has the pool look at all that depends on time alone.
    pub(in crate::process) fn set_pool_alarm(&self, at: Instant, pool: &Arc<P>) {
        self.set_alarm(at, Alarm { pool: Arc::downgrade(pool), task: None });
    }

    fn set_alarm(&self, at: Instant, alarm: Alarm<P>) {
        if self.alarms.set(at, alarm) {
            self.ring();
        }
    }

    /// Takes the alarm of a task back, if it has not gone off.
    pub(in crate::process) fn unset_task_alarm(&self, at: Instant, task: u64) {
        self.alarms.unset(at, Key::Task(task));
    }

    /// Takes the alarm of a whole pool back, if it has not gone off.
    pub(in crate::process) fn unset_pool_alarm(&self, at: Instant, pool: *const P) {
        self.alarms.unset(at, Key::of(pool));
    }

    /// Wakes the service thread, unless it is the caller: it looks at all requests before it
    /// sleeps.
    fn ring(&self) {
        if self.thread.get() != Some(&observe::thread_id()) {
            self.bell.ring();
        }
    }

    /// Makes the calling thread the service thread.
    pub(super) fn serve_by_this_thread(&self) {
        self.thread.set(observe::thread_id()).expect("one thread serves, and sets this once");
    }

    pub(super) fn take_forks(&self) -> Vec<(Arc<P>, usize)> {
        std::mem::take(&mut *self.forks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn has_forks(&self) -> bool {
        !self.forks.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn take_retiring(&self) -> Vec<Arc<P>> {
        std::mem::take(&mut *self.retiring.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
