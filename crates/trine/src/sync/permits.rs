//! A count of permits, and the queue of waiters for some: the protocol under
//! [`Mutex`](super::Mutex) (one permit), [`RwLock`](super::RwLock) (a writer takes all) and
//! [`Semaphore`](super::Semaphore).
//!
//! ```text
//!   word   63 ……………………………………………… 16     15      14 …… 2     1       0
//!         │ permits that are free   │ CLOSED │ passed │ WOKEN │ QUEUED │
//! ```
//!
//! Taking permits without contention is one compare-and-swap, and so is giving them back. A caller
//! that finds too few joins a queue. Permits are never handed to a waiter: the front waiter is
//! *woken* and takes them itself. So nothing is lost when a wait is cancelled at the moment it
//! ends. Leaving the queue is the same in all cases, and wakes the next waiter if there is enough
//! for it.
//!
//! **Others may pass while the front waiter wakes up**, for that takes a thread microseconds, and
//! the permits would lie idle. They may pass [`MAY_PASS`] times, and no more once the front waiter
//! has come and found too few; from then on the permits wait for it. So every waiter in the queue
//! advances within a bounded number of acquisitions. Barging with an eventual hand-over is
//! parking_lot's (there by time, 0.5 ms on average), after WebKit's `WTF::Lock`. That the front
//! waiter claims the lock after it has lost it once is the Linux kernel's (`MUTEX_FLAG_HANDOFF`).
//!
//! | step | by | changes |
//! |---|---|---|
//! | take | any caller, if no waiter; while `WOKEN`, [`MAY_PASS`] times | `free`, `passed` |
//! | take | the front waiter, once woken | `free` |
//! | give | any caller | `free`; under the list's lock if `QUEUED` and not `WOKEN` |
//! | wake the front waiter | a caller that gives or leaves, under the lock | `WOKEN` |
//! | claim | the front waiter, woken, that found too few | clears `WOKEN`, fills `passed` |
//! | join, leave | a waiter, under the lock | `QUEUED`, `WOKEN`, `passed` |
//! | close | any caller, under the lock | sets `CLOSED`, clears all but `free`; empties the queue |
//!
//! The invariant that loses no wake-up: **`QUEUED` without `WOKEN` means that `free` is less than
//! the front waiter wants.** Each step is one compare-and-swap that keeps it. A claim is made of a
//! word with too few. A caller that adds to such a word looks at the front waiter under the lock. A
//! waiter that leaves the front looks for the next one.
//!
//! From the close on, no caller takes or joins. Permits that are given are counted only.
//!
//! Ordering: giving releases, taking acquires. The word changes by read-modify-write only, so a
//! taker sees the writes of all earlier givers. A claim releases too, and the waker of the front
//! acquires: the waiter's flag is cleared before it is set again. So does the close.

use std::time::Instant;

use super::atomic::{AtomicU64, MAY_PASS, MutexGuard, Ordering, SPINS, spin_loop};
use super::queue::{List, WaitQueue, Waiter, expired};
use crate::task::{park, wait};
use Ordering::{AcqRel, Acquire, Relaxed, Release};

/// The queue has a waiter. Set and cleared under the list's lock.
const QUEUED: u64 = 1;
/// The front waiter was woken and has not claimed, nor left. Only with `QUEUED`.
const WOKEN: u64 = 1 << 1;
/// One pass of others before the front waiter; the count begins at this bit.
const PASS: u64 = 1 << 2;
const PASSED: u64 = CLOSED - PASS;
/// No permits are taken any more. Never cleared; excludes `QUEUED`.
const CLOSED: u64 = 1 << 15;
/// One permit.
const ONE: u64 = 1 << 16;

/// The largest number of permits.
pub(super) const MAX: u64 = u64::MAX / ONE;

/// A count of permits, and the queue of waiters for some.
pub(super) struct Permits {
    word: AtomicU64,
    queue: WaitQueue,
}

const fn free(word: u64) -> u64 {
    word / ONE
}

/// Returns the word after a caller outside the queue took `n` permits; `None` if it has to wait.
#[inline]
fn taken(word: u64, n: u64) -> Option<u64> {
    if free(word) < n {
        return None;
    }
    if word & (QUEUED | CLOSED) == 0 {
        return Some(word - n * ONE);
    }
    let may_pass = word & WOKEN != 0 && word & PASSED < MAY_PASS * PASS;
    may_pass.then(|| word - n * ONE + PASS)
}

impl Permits {
    pub(super) const fn new(n: u64) -> Permits {
        Permits { word: AtomicU64::new(n * ONE), queue: WaitQueue::new() }
    }

    pub(super) fn available(&self) -> u64 {
        free(self.word.load(Relaxed))
    }

    /// Takes `n` permits, of which `n` exist altogether, if all are free and the queue is empty:
    /// the short path of a lock.
    #[inline(always)]
    pub(super) fn take_all(&self, n: u64) -> bool {
        self.word.compare_exchange(n * ONE, 0, Acquire, Relaxed).is_ok()
    }

    /// Gives back the permits that [`take_all`](Self::take_all) takes.
    #[inline(always)]
    pub(super) fn give_all(&self, n: u64) {
        if self.word.compare_exchange(0, n * ONE, Release, Relaxed).is_err() {
            self.give_contended(n);
        }
    }

    /// Takes `n` permits if that needs no wait.
    #[inline]
    pub(super) fn try_take(&self, n: u64) -> bool {
        let mut word = self.word.load(Relaxed);
        while let Some(next) = taken(word, n) {
            match self.word.compare_exchange_weak(word, next, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(seen) => word = seen,
            }
        }
        false
    }

    /// Gives `n` permits back, or adds them.
    #[inline]
    pub(super) fn give(&self, n: u64) {
        let word = self.word.load(Relaxed);
        if word & QUEUED != 0
            || self
                .word
                .compare_exchange(word, word.wrapping_add(n * ONE), Release, Relaxed)
                .is_err()
        {
            self.give_contended(n);
        }
    }

    #[cold]
    fn give_contended(&self, n: u64) {
        let mut list = None;
        let mut word = self.word.load(Relaxed);
        loop {
            let mut next = word.wrapping_add(n * ONE);
            let (mut wakes, mut order) = (false, Release);
            if word & (QUEUED | WOKEN) == QUEUED {
                // No other party wakes the front waiter.
                let list: &mut MutexGuard<'_, List> = list.get_or_insert_with(|| self.queue.lock());
                wakes = list.front().is_some_and(|front| front.wanted() <= free(next));
                if wakes {
                    next |= WOKEN;
                    order = AcqRel;
                }
            }
            match self.word.compare_exchange_weak(word, next, order, Relaxed) {
                Ok(_) => {
                    let waker = list.filter(|_| wakes).and_then(|list| list.wake_front());
                    if let Some(waker) = waker {
                        park::wake(waker);
                    }
                    return;
                }
                Err(seen) => word = seen,
            }
        }
    }

    /// Refuses permits to all callers from now on, those that wait included.
    pub(super) fn close(&self) {
        let list = self.queue.lock();
        let mut word = self.word.load(Relaxed);
        loop {
            let next = word & !(QUEUED | WOKEN | PASSED) | CLOSED;
            match self.word.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) => break,
                Err(seen) => word = seen,
            }
        }
        self.queue.wake_all(list);
    }

    /// Returns true if permits are refused. The writes before the close are visible then.
    pub(super) fn is_closed(&self) -> bool {
        self.word.load(Acquire) & CLOSED != 0
    }

    /// Takes `n` permits, of which at most [`MAX`] exist, and waits for them until `deadline`.
    /// Returns false if that came first, or the permits are refused. Unwinds if the task is
    /// cancelled.
    #[cold]
    pub(super) fn wait_and_take(&self, n: u64, deadline: Option<Instant>) -> bool {
        for _ in 0..SPINS {
            if self.try_take(n) {
                return true;
            }
            if self.word.load(Relaxed) & (QUEUED | CLOSED) != 0 {
                break;
            }
            spin_loop();
        }
        let waiter = Waiter::new(n);
        let mut list = match self.begin_wait(n) {
            BeforeWait::Join(list) => list,
            BeforeWait::Taken => return true,
            BeforeWait::Closed => return false,
        };
        let _guard = WaitGuard { permits: self, waiter: &waiter };
        // SAFETY: a new node, and `_guard`, dropped before it whatever happens, takes it out.
        unsafe { list.push(&waiter) };
        drop(list);
        loop {
            if waiter.is_woken() && self.take_in_front(&waiter) {
                return true;
            }
            if self.is_closed() {
                return false;
            }
            if expired(deadline) {
                return false;
            }
            wait::or_unwind(deadline);
        }
    }

    /// Marks the queue as not empty in the word, unless the permits can be taken after all.
    fn begin_wait(&self, n: u64) -> BeforeWait<'_> {
        let list = self.queue.lock();
        let mut word = self.word.load(Relaxed);
        loop {
            let (next, order) = match taken(word, n) {
                Some(next) => (next, Acquire),
                None if word & CLOSED != 0 => return BeforeWait::Closed,
                None if word & QUEUED != 0 => return BeforeWait::Join(list),
                None => (word | QUEUED, Relaxed),
            };
            match self.word.compare_exchange_weak(word, next, order, Relaxed) {
                Ok(_) if order == Acquire => return BeforeWait::Taken,
                Ok(_) => return BeforeWait::Join(list),
                Err(seen) => word = seen,
            }
        }
    }

    /// Takes the permits of the front waiter, which was woken, or claims the next ones (`false`).
    /// Does neither if the permits are refused (`false`).
    fn take_in_front(&self, waiter: &Waiter) -> bool {
        let n = waiter.wanted();
        let mut spins = 0;
        let mut word = self.word.load(Relaxed);
        loop {
            let next = if word & CLOSED != 0 {
                return false;
            } else if free(word) >= n {
                word - n * ONE
            } else if spins < SPINS {
                spins += 1;
                spin_loop();
                word = self.word.load(Relaxed);
                continue;
            } else {
                // While the word has `WOKEN`, no other party wakes this waiter.
                waiter.reset();
                (word & !WOKEN & !PASSED) | (MAY_PASS * PASS)
            };
            match self.word.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) => return free(word) >= n,
                Err(seen) => word = seen,
            }
        }
    }

    /// Takes the caller out of the queue, whatever the outcome of its wait.
    fn leave(&self, waiter: &Waiter) {
        let mut list = self.queue.lock();
        let was_front = list.is_front(waiter);
        list.remove(waiter);
        // If the front waiter is still there, the word's bits refer to it. After the close they
        // refer to none.
        if !was_front || self.is_closed() {
            return;
        }
        let wanted = list.front().map(Waiter::wanted);
        let mut word = self.word.load(Relaxed);
        loop {
            let rest = word & !(QUEUED | WOKEN | PASSED);
            let wakes = wanted.is_some_and(|wanted| wanted <= free(word));
            let next = match wanted {
                None => rest,
                Some(_) if wakes => rest | QUEUED | WOKEN,
                Some(_) => rest | QUEUED,
            };
            match self.word.compare_exchange_weak(word, next, Relaxed, Relaxed) {
                Ok(_) if wakes => break,
                Ok(_) => return,
                Err(seen) => word = seen,
            }
        }
        let waker = list.wake_front();
        drop(list);
        if let Some(waker) = waker {
            park::wake(waker);
        }
    }
}

/// The next step of a caller that found too few permits.
enum BeforeWait<'a> {
    /// Join the queue under this lock.
    Join(MutexGuard<'a, List>),
    /// Go on: the permits could be taken after all.
    Taken,
    /// Give up: permits are refused.
    Closed,
}

/// Takes a waiter out of the queue when dropped.
struct WaitGuard<'a> {
    permits: &'a Permits,
    waiter: &'a Waiter,
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        self.permits.leave(self.waiter);
    }
}
