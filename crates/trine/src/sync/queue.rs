//! The queue of waiters: a list of nodes on the stacks of the waiting calls.
//!
//! ```text
//!   WaitQueue ── list, under a lock ──►  head            tail
//!                                         │                │
//!      stacks of the waiting:          [Waiter] ◄──► [Waiter] ◄──► …
//!                                       waker, wanted, woken
//! ```
//!
//! Nothing is allocated. A node is removed from the list before its frame is left, whether the wait
//! ends well, times out or unwinds: [`Queued`] does it.
//!
//! | field of a node | touched by |
//! |---|---|
//! | `links` | the holder of the list's lock |
//! | `woken` | set under the lock; read, and cleared, by the waiter |
//!
//! The lock is std's, held for a few instructions: never across a wait, never while a waker runs.

use std::cell::UnsafeCell;
use std::marker::PhantomPinned;
use std::ptr;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::atomic::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use crate::task::{park, wait};

/// The number of waiters woken between two holds of the lock, when all are woken.
const BATCH: usize = 16;

/// Returns the moment at which a wait of `after` is over. `None`, an unlimited wait, if the clock
/// cannot count that far.
pub(super) fn deadline(after: Duration) -> Option<Instant> {
    Instant::now().checked_add(after)
}

/// Returns true if `deadline` has come.
pub(super) fn expired(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}

/// A waiter: one wait of a coroutine or thread.
pub(super) struct Waiter {
    links: UnsafeCell<Links>,
    woken: AtomicBool,
    /// The wanted amount, in a unit of the queue's owner.
    wanted: u64,
    _stays: PhantomPinned,
}

struct Links {
    queued: bool,
    /// The waiter was taken out by or for [`WaitQueue::wake_all`].
    with_all: bool,
    /// The number of waiters that joined the list before.
    ticket: u64,
    waker: Option<Waker>,
    next: *const Waiter,
    prev: *const Waiter,
}

impl Waiter {
    /// Makes a waiter of the caller.
    pub(super) fn new(wanted: u64) -> Waiter {
        let (next, prev) = (ptr::null(), ptr::null());
        let waker = Some(park::waker());
        let links = Links { queued: false, with_all: false, ticket: 0, waker, next, prev };
        Waiter {
            links: UnsafeCell::new(links),
            woken: AtomicBool::new(false),
            wanted,
            _stays: PhantomPinned,
        }
    }

    /// Returns true if it was woken since [`reset`](Self::reset). The writes before the wake-up are
    /// visible then.
    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// Forgets a wake-up. For the waiter itself, while no other party may wake it.
    pub(super) fn reset(&self) {
        self.woken.store(false, Ordering::Relaxed);
    }

    pub(super) fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Waits until it is woken (`true`) or `deadline` has come. Unwinds if the task is cancelled.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        loop {
            if self.is_woken() {
                return true;
            }
            if expired(deadline) {
                return false;
            }
            wait::or_unwind(deadline);
        }
    }
}

/// The list, for the holder of its lock.
pub(super) struct List {
    head: *const Waiter,
    tail: *const Waiter,
    /// The number of waiters that have joined so far.
    tickets: u64,
    /// Waiters with a lower ticket are notified: [`WaitQueue::wake_all`] takes them out.
    all_before: u64,
}

// SAFETY: the pointers are followed only under the list's lock, and lead to nodes whose fields are
// atomic, never changed, or touched under that lock.
unsafe impl Send for List {}

impl List {
    const EMPTY: List = List { head: ptr::null(), tail: ptr::null(), tickets: 0, all_before: 0 };

    /// Returns the longest-waiting waiter.
    pub(super) fn front(&self) -> Option<&Waiter> {
        // SAFETY: a node in the list is alive: `Queued` removes it, under the lock that the owner
        // of `self` holds, before its frame is left.
        unsafe { self.head.as_ref() }
    }

    /// Returns true if [`WaitQueue::wake_all`] is about to wake the front waiter.
    pub(super) fn is_front_notified(&self) -> bool {
        // SAFETY: the links are touched under the lock only, which the owner of `self` holds.
        self.front().is_some_and(|front| unsafe { (*front.links.get()).ticket < self.all_before })
    }

    pub(super) fn is_front(&self, waiter: &Waiter) -> bool {
        ptr::eq(self.head, waiter)
    }

    /// Adds a node at the end.
    ///
    /// # Safety
    ///
    /// `waiter` is in no list, and [`remove`](Self::remove) is called with it before it is moved or
    /// dropped.
    pub(super) unsafe fn push(&mut self, waiter: &Waiter) {
        // SAFETY: the links are touched under the lock only, which the owner of `self` holds.
        let links = unsafe { &mut *waiter.links.get() };
        links.queued = true;
        links.ticket = self.tickets;
        links.prev = self.tail;
        self.tickets += 1;
        // SAFETY: as in `front`, and for the links as above; it is another node than `waiter`.
        match unsafe { self.tail.as_ref() } {
            // SAFETY: as above.
            Some(tail) => unsafe { (*tail.links.get()).next = waiter },
            None => self.head = waiter,
        }
        self.tail = waiter;
    }

    /// Removes a node that is in this list or in none. Returns false if it was in none any more.
    pub(super) fn remove(&mut self, waiter: &Waiter) -> bool {
        // SAFETY: as in `push`.
        let links = unsafe { &mut *waiter.links.get() };
        if !std::mem::replace(&mut links.queued, false) {
            return false;
        }
        // SAFETY: the neighbours of a queued node are queued, so alive; each is another node.
        unsafe {
            match links.prev.as_ref() {
                Some(prev) => (*prev.links.get()).next = links.next,
                None => self.head = links.next,
            }
            match links.next.as_ref() {
                Some(next) => (*next.links.get()).prev = links.prev,
                None => self.tail = links.prev,
            }
        }
        true
    }

    /// Marks the front waiter as woken, and leaves it in place. The waker is for use after the
    /// lock.
    #[must_use = "the waiter sleeps until the waker is used"]
    pub(super) fn wake_front(&self) -> Option<Waker> {
        let front = self.front()?;
        // SAFETY: as in `push`.
        let waker = unsafe { (*front.links.get()).waker.clone() };
        front.woken.store(true, Ordering::Release);
        waker
    }

    /// Removes the front waiter and marks it as woken. The waker is for use after the lock.
    #[must_use = "the waiter sleeps until the waker is used"]
    pub(super) fn pop(&mut self) -> Option<Waker> {
        let front = self.head;
        // SAFETY: as in `front`; not borrowed from `self`, which changes.
        let front = unsafe { front.as_ref() }?;
        let with_all = self.is_front_notified();
        self.remove(front);
        // SAFETY: as in `push`.
        let links = unsafe { &mut *front.links.get() };
        links.with_all = with_all;
        let waker = links.waker.take();
        // The last access: its frame may be left from here on.
        front.woken.store(true, Ordering::Release);
        waker
    }
}

/// A list of waiters, and its lock.
pub(super) struct WaitQueue {
    list: Mutex<List>,
}

impl WaitQueue {
    pub(super) const fn new() -> WaitQueue {
        WaitQueue { list: Mutex::new(List::EMPTY) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the caller to the list behind `list`, which is this queue's, and gives the lock back.
    ///
    /// # Safety
    ///
    /// `waiter` is in no list, and the result is dropped before `waiter` is moved or dropped.
    pub(super) unsafe fn join<'a>(
        &'a self,
        mut list: MutexGuard<'a, List>,
        waiter: &'a Waiter,
    ) -> Queued<'a> {
        // SAFETY: the caller's promise: the drop of `Queued` removes it.
        unsafe { list.push(waiter) };
        Queued { queue: self, waiter }
    }

    /// Wakes the longest-waiting waiter. Returns false if there is none.
    pub(super) fn wake_one(&self) -> bool {
        let waker = self.lock().pop();
        let woken = waker.is_some();
        if let Some(waker) = waker {
            park::wake(waker);
        }
        woken
    }

    /// Wakes all waiters that are in `list`, which is this queue's, now; not those that join
    /// meanwhile. Returns the number of those that it has woken.
    pub(super) fn wake_all<'a>(&'a self, mut list: MutexGuard<'a, List>) -> usize {
        let end = list.tickets;
        list.all_before = end;
        let mut woken = 0;
        loop {
            let mut wakers = [const { None::<Waker> }; BATCH];
            for waker in &mut wakers {
                // SAFETY: as in `push`: the lock is held.
                let is_meant = |front: &Waiter| unsafe { (*front.links.get()).ticket < end };
                if list.front().is_some_and(is_meant) {
                    *waker = list.pop();
                }
            }
            drop(list);
            let mut last = false;
            for waker in wakers {
                match waker {
                    Some(waker) => {
                        park::wake(waker);
                        woken += 1;
                    }
                    None => last = true,
                }
            }
            if last {
                return woken;
            }
            list = self.lock();
        }
    }
}

/// The notification of a waiter that has left its queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Notified {
    /// It was not notified.
    No,
    /// It was notified, and no other by the same call.
    Alone,
    /// It was notified together with all that waited.
    WithAll,
}

/// A position in a queue, given up when dropped.
pub(super) struct Queued<'a> {
    queue: &'a WaitQueue,
    waiter: &'a Waiter,
}

impl Queued<'_> {
    /// Gives the position up. Returns false if the waiter was woken, and was not in the list any
    /// more.
    pub(super) fn leave(self) -> bool {
        self.remove()
    }

    /// Gives the position up, and returns the notification that the waiter had.
    pub(super) fn end(self) -> Notified {
        let mut list = self.queue.lock();
        let was_queued = list.remove(self.waiter);
        // SAFETY: the links are touched under the lock only, which is held.
        let links = unsafe { &*self.waiter.links.get() };
        match was_queued {
            true if links.ticket < list.all_before => Notified::WithAll,
            true => Notified::No,
            false if links.with_all => Notified::WithAll,
            false => Notified::Alone,
        }
    }

    fn remove(&self) -> bool {
        self.queue.lock().remove(self.waiter)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.remove();
    }
}
