//! Futures that wait for a time, of one carrier.
//!
//! A sleeping future may be polled, moved and dropped on any thread, and by any executor. So the
//! alarms are under a lock, unlike the [timers](crate::coroutine::timers) of coroutines, and hold wakers. A
//! future that is polled on a carrier sets its alarm there, where nobody contends for the lock;
//! one that is polled elsewhere sets it at the first carrier.
//!
//! ```text
//!   any thread                        the carrier
//!   ──────────                        ───────────
//!   set ─────► pending: a wheel ◄──── ring: takes those that are due, and wakes them
//!   cancel ──►  `next`: the first ──► how long to sleep
//!      └─ an earlier first one: calls the carrier
//! ```
//!
//! No waker is used or dropped under the lock: either may run code of others, which may sleep too.

use std::mem;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::coroutine::carrier;
use crate::coroutine::remote::Remote;
use crate::coroutine::scheduler;
use crate::coroutine::timer_slab::Key;
use crate::coroutine::timers::Timers;
use crate::task::park;

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
pub(in crate::coroutine) struct Alarms {
    /// When the first one is due. Written under the lock.
    next: AtomicU64,
    pending: Mutex<Pending>,
}

type Pending = Box<Timers<Waker>>;

impl Default for Alarms {
    fn default() -> Alarms {
        let pending = Mutex::new(Box::new(Timers::new(*ZERO)));
        Alarms { next: AtomicU64::new(NEVER), pending }
    }
}

impl Alarms {
    #[inline]
    pub(in crate::coroutine) fn is_empty(&self) -> bool {
        self.next.load(Relaxed) == NEVER
    }

    /// When the first alarm is due.
    pub(in crate::coroutine) fn next(&self) -> Option<Instant> {
        let next = self.next.load(SeqCst);
        (next != NEVER).then(|| *ZERO + Duration::from_nanos(next))
    }

    /// Wakes those whose time has come.
    pub(in crate::coroutine) fn ring(&self, now: Instant) {
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

    /// The key of a new alarm, and whether it is the first of all.
    fn set(&self, at: Instant, waker: Waker) -> (Key, bool) {
        let mut pending = self.lock();
        let key = pending.insert(Instant::now(), at, waker);
        let first = moment(at) < self.next.load(Relaxed);
        if first {
            self.note_first(&pending);
        }
        (key, first)
    }

    /// Has `waker` used by an alarm that was set; `false` if it has rung, and has woken another.
    #[must_use = "what has rung will not ring again"]
    fn renew(&self, key: Key, waker: &Waker) -> bool {
        match self.lock().payload_mut(key) {
            None => return false,
            Some(old) if old.will_wake(waker) => return true,
            Some(_) => {}
        }
        let mut waker = waker.clone();
        let mut pending = self.lock();
        let old = pending.payload_mut(key);
        let is_set = old.map(|old| mem::swap(old, &mut waker)).is_some();
        drop(pending);
        is_set
    }

    fn cancel(&self, key: Key) {
        let mut pending = self.lock();
        let waker = pending.cancel(key);
        if pending.is_empty() {
            self.note_first(&pending);
        }
        if pending.wants_trim() {
            pending.trim();
        }
        drop(pending);
        drop(waker);
    }

    fn note_first(&self, pending: &Pending) {
        self.next.store(pending.next_time().unwrap_or(NEVER), SeqCst);
    }

    /// No code that can panic runs under this lock.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A future's wait for a moment.
pub(crate) struct Alarm {
    /// `None` is never.
    at: Option<Instant>,
    /// Where it is set, from the first poll that had to wait.
    set: Option<(&'static Remote, Key)>,
}

impl Alarm {
    /// An alarm for `deadline`; without one it is never due.
    pub(crate) fn new(deadline: Option<Instant>) -> Alarm {
        Alarm { at: deadline, set: None }
    }

    /// Whether the moment has come; if not, the waker is woken then.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        if Instant::now() >= at {
            self.cancel();
            return Poll::Ready(());
        }
        match self.set {
            Some((carrier, key)) => match carrier.alarms.renew(key, context.waker()) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            },
            None => {
                self.set(at, context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Sets it here, where the caller is carried, or else at the first carrier. Not at the one that a
    /// thread has for its local coroutines, which looks at nothing while the thread does not wait.
    fn set(&mut self, at: Instant, waker: Waker) {
        let here = carrier::current().filter(|carrier| carrier.has_own_thread());
        let here = here.map(carrier::Carrier::remote);
        let home = here.or_else(|| scheduler::scheduler().first());
        let home = home.expect("a thread that keeps the time could not be started");
        let (key, first) = home.alarms.set(at, waker);
        self.set = Some((home, key));
        if first && here.is_none() {
            home.call();
        }
    }

    fn cancel(&mut self) {
        if let Some((carrier, key)) = self.set.take() {
            carrier.alarms.cancel(key);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.cancel();
    }
}
