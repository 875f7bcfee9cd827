//! The timers of futures, of one carrier.
//!
//! A sleeping future may be polled, moved and dropped on any thread, and by any executor. So these
//! timers are under a lock, unlike the [timers](super::Timers) of coroutines, and hold wakers. A
//! future that is polled on a carrier sets its timer there, where nothing contends for the lock. A
//! future that is polled elsewhere sets it at the first carrier (`future/timer.rs`).
//!
//! ```text
//!   any thread                        the carrier
//!   ──────────                        ───────────
//!   insert ──► pending: a wheel ◄──── expire: takes those that are due, and wakes them
//!   cancel ──►  `next`: the first ──► the time to sleep until
//!      └─ an earlier first one: notifies the carrier
//! ```
//!
//! No waker is used or dropped under the lock: either may run foreign code, which may sleep too.

use std::mem;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::Timers;
use super::slab::Key;
use crate::task::park;

/// Wakers taken from under the lock at once.
const BATCH: usize = 64;

/// Nanoseconds since [`ZERO`].
type Moment = u64;

const NEVER: Moment = Moment::MAX;

static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Converts an instant; `NEVER` for one that is more than 584 years away.
fn moment(instant: Instant) -> Moment {
    Moment::try_from(instant.saturating_duration_since(*ZERO).as_nanos()).unwrap_or(NEVER)
}

/// The pending timers of futures at one carrier.
pub(in crate::coroutine) struct SharedTimers {
    /// The time of the first one. Written under the lock.
    next: AtomicU64,
    pending: Mutex<Pending>,
}

type Pending = Box<Timers<Waker>>;

impl Default for SharedTimers {
    fn default() -> SharedTimers {
        let pending = Mutex::new(Box::new(Timers::new(*ZERO)));
        SharedTimers { next: AtomicU64::new(NEVER), pending }
    }
}

impl SharedTimers {
    #[inline]
    pub(in crate::coroutine) fn is_empty(&self) -> bool {
        self.next.load(Relaxed) == NEVER
    }

    /// Returns the time of the first timer.
    pub(in crate::coroutine) fn next_deadline(&self) -> Option<Instant> {
        let next = self.next.load(SeqCst);
        (next != NEVER).then(|| *ZERO + Duration::from_nanos(next))
    }

    /// Wakes the futures whose time has come.
    pub(in crate::coroutine) fn expire(&self, now: Instant) {
        if self.is_empty() || moment(now) < self.next.load(Relaxed) {
            return;
        }
        let mut due = Vec::with_capacity(BATCH);
        loop {
            let mut pending = self.lock();
            while due.len() < BATCH
                && let Some(waker) = pending.pop_expired(now)
            {
                due.push(waker);
            }
            self.note_first(&pending);
            drop(pending);
            if due.is_empty() {
                return;
            }
            due.drain(..).for_each(park::wake);
        }
    }

    /// Adds a timer. Returns its key, and true if it is the first of all.
    pub(in crate::coroutine) fn insert(&self, at: Instant, waker: Waker) -> (Key, bool) {
        let mut pending = self.lock();
        let key = pending.insert(Instant::now(), at, waker);
        let first = moment(at) < self.next.load(Relaxed);
        if first {
            self.note_first(&pending);
        }
        (key, first)
    }

    /// Replaces the waker of a pending timer. Returns false if the timer has expired, and has used
    /// another waker.
    #[must_use = "an expired timer wakes nothing more"]
    pub(in crate::coroutine) fn set_waker(&self, key: Key, waker: &Waker) -> bool {
        match self.lock().payload_mut(key) {
            None => return false,
            Some(old) if old.will_wake(waker) => return true,
            Some(_) => {}
        }
        let mut waker = waker.clone();
        let mut pending = self.lock();
        let old = pending.payload_mut(key);
        let is_pending = old.map(|old| mem::swap(old, &mut waker)).is_some();
        drop(pending);
        park::discard(Some(waker));
        is_pending
    }

    pub(in crate::coroutine) fn cancel(&self, key: Key) {
        let mut pending = self.lock();
        let waker = pending.cancel(key);
        if pending.is_empty() {
            self.note_first(&pending);
        }
        if pending.needs_trim() {
            pending.trim();
        }
        drop(pending);
        park::discard(waker);
    }

    fn note_first(&self, pending: &Pending) {
        self.next.store(pending.next_time().unwrap_or(NEVER), SeqCst);
    }

    /// Locks. No code that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
