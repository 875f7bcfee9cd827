//! Futures that wait for a time, of one carrier.
//!
//! A sleeping future may be polled, moved and dropped on any thread, and by any executor. So the
//! alarms are under a lock, unlike the [timers](super::timers) of coroutines, and hold wakers. A
//! future that is polled on a carrier sets its alarm there, where nobody contends for the lock;
//! one that is polled elsewhere sets it at the first carrier.
//!
//! ```text
//!   any thread                        the carrier
//!   ──────────                        ───────────
//!   set ─────► pending, by time ◄──── ring: takes those that are due, and wakes them
//!   cancel ──►  `next`: the first ──► how long to sleep
//!      └─ an earlier first one: calls the carrier
//! ```
//!
//! No waker is used or dropped under the lock: either may run code of others, which may sleep too.

use std::collections::BTreeMap;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::carrier::{self, Remote};
use super::scheduler;

/// Wakers taken from under the lock at once.
const BATCH: usize = 64;

/// Nanoseconds since [`ZERO`].
type Moment = u64;

const NEVER: Moment = Moment::MAX;

static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);

/// `NEVER` for what is more than 584 years away.
fn moment(instant: Instant) -> Moment {
    Moment::try_from(instant.saturating_duration_since(*ZERO).as_nanos()).unwrap_or(NEVER)
}

/// The pending alarms of one carrier.
pub(super) struct Alarms {
    /// When the first one is due. Written under the lock.
    next: AtomicU64,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    /// By time; those of the same moment in the order in which they were set.
    wakers: BTreeMap<(Moment, u64), Waker>,
    set: u64,
}

impl Default for Alarms {
    fn default() -> Alarms {
        Alarms { next: AtomicU64::new(NEVER), pending: Mutex::default() }
    }
}

impl Alarms {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.next.load(Relaxed) == NEVER
    }

    /// When the first alarm is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let next = self.next.load(SeqCst);
        (next != NEVER).then(|| *ZERO + Duration::from_nanos(next))
    }

    /// Wakes those whose time has come.
    pub(super) fn ring(&self, now: Instant) {
        if self.is_empty() || moment(now) < self.next.load(Relaxed) {
            return;
        }
        let mut due = Vec::with_capacity(BATCH);
        loop {
            let mut pending = self.lock();
            while due.len() < BATCH
                && let Some(first) = pending.wakers.first_entry()
                && first.key().0 <= moment(now)
            {
                due.push(first.remove());
            }
            self.note_first(&pending);
            drop(pending);
            if due.is_empty() {
                return;
            }
            for waker in due.drain(..) {
                // The waker of another executor may panic. The hook has reported it.
                if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                    mem::forget(payload);
                }
            }
        }
    }

    /// The number of a new alarm, and whether it is the first of all.
    fn set(&self, at: Moment, waker: Waker) -> (u64, bool) {
        let mut pending = self.lock();
        pending.set += 1;
        let number = pending.set;
        pending.wakers.insert((at, number), waker);
        let first = at < self.next.load(Relaxed);
        if first {
            self.next.store(at, SeqCst);
        }
        (number, first)
    }

    /// Has `waker` used by an alarm that was set; `false` if it has rung, and has woken another.
    #[must_use = "what has rung will not ring again"]
    fn renew(&self, at: Moment, number: u64, waker: &Waker) -> bool {
        match self.lock().wakers.get(&(at, number)) {
            None => return false,
            Some(old) if old.will_wake(waker) => return true,
            Some(_) => {}
        }
        let mut waker = waker.clone();
        let mut pending = self.lock();
        let old = pending.wakers.get_mut(&(at, number));
        let is_set = old.map(|old| mem::swap(old, &mut waker)).is_some();
        drop(pending);
        is_set
    }

    fn cancel(&self, at: Moment, number: u64) {
        let mut pending = self.lock();
        let waker = pending.wakers.remove(&(at, number));
        if waker.is_some() && at == self.next.load(Relaxed) {
            self.note_first(&pending);
        }
        drop(pending);
        drop(waker);
    }

    fn note_first(&self, pending: &Pending) {
        let first = pending.wakers.first_key_value().map_or(NEVER, |(key, _)| key.0);
        self.next.store(first, SeqCst);
    }

    /// No code that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future's wait for a moment.
pub(crate) struct Alarm {
    at: Moment,
    /// Where it is set, from the first poll that had to wait.
    carrier: Option<&'static Remote>,
    number: u64,
}

impl Alarm {
    /// An alarm for `deadline`; without one it is never due.
    pub(crate) fn new(deadline: Option<Instant>) -> Alarm {
        Alarm { at: deadline.map_or(NEVER, moment), carrier: None, number: 0 }
    }

    /// Whether the moment has come; if not, the waker is woken then.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.at == NEVER {
            return Poll::Pending;
        }
        if moment(Instant::now()) >= self.at {
            self.cancel();
            return Poll::Ready(());
        }
        match self.carrier {
            Some(carrier) => match carrier.alarms.renew(self.at, self.number, context.waker()) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            },
            None => {
                self.set(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Sets it here, where the caller is carried, or else at the first carrier. Not at the one that a
    /// thread has for its local coroutines, which looks at nothing while the thread does not wait.
    fn set(&mut self, waker: Waker) {
        let here = carrier::current().filter(|carrier| carrier.has_own_thread());
        let here = here.map(carrier::Carrier::remote);
        let home = here.or_else(|| scheduler::scheduler().first());
        let home = home.expect("a thread that keeps the time could not be started");
        let (number, first) = home.alarms.set(self.at, waker);
        (self.carrier, self.number) = (Some(home), number);
        if first && here.is_none() {
            home.call();
        }
    }

    fn cancel(&mut self) {
        if let Some(carrier) = self.carrier.take() {
            carrier.alarms.cancel(self.at, self.number);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.cancel();
    }
}
