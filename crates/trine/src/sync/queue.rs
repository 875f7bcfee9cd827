//! Those who wait: a list of nodes that stand on the stacks of the waiting.
//!
//! ```text
//!   WaitQueue ── list, under a lock ──►  head            tail
//!                                         │                │
//!      stacks of the waiting:          [Waiter] ◄──► [Waiter] ◄──► …
//!                                       waker, wants, woken
//! ```
//!
//! Nothing is allocated. A node is taken out of the list before its frame is left, whether the wait
//! ends well, times out or unwinds: [`Queued`] does it.
//!
//! | field of a node | who touches it |
//! |---|---|
//! | `links` | whoever holds the list's lock |
//! | `woken` | set under the lock; read, and cleared, by the one who waits |
//!
//! The lock is std's, held for a few instructions: never across a wait, never while a waker runs.

use std::cell::UnsafeCell;
use std::marker::PhantomPinned;
use std::ptr;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::atomic::{AtomicBool, Mutex, MutexGuard, Ordering, PoisonError};
use crate::task::{park, wait};

/// How many are woken between two holds of the lock, when all are.
const BATCH: usize = 16;

/// The moment at which a wait that begins now is over; `None`, which waits for good, if the clock
/// cannot count that far.
pub(super) fn deadline(after: Duration) -> Option<Instant> {
    Instant::now().checked_add(after)
}

/// Whether `deadline` has come.
pub(super) fn expired(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| deadline <= Instant::now())
}

/// One who waits.
pub(super) struct Waiter {
    links: UnsafeCell<Links>,
    woken: AtomicBool,
    /// What it waits for, as a number that means something to the queue's owner.
    wants: u64,
    _stays: PhantomPinned,
}

struct Links {
    queued: bool,
    /// Those who joined the list before.
    ticket: u64,
    waker: Option<Waker>,
    next: *const Waiter,
    prev: *const Waiter,
}

impl Waiter {
    /// The caller, as one who waits.
    pub(super) fn new(wants: u64) -> Waiter {
        let (next, prev) = (ptr::null(), ptr::null());
        let waker = Some(park::waker());
        let links = Links { queued: false, ticket: 0, waker, next, prev };
        Waiter {
            links: UnsafeCell::new(links),
            woken: AtomicBool::new(false),
            wants,
            _stays: PhantomPinned,
        }
    }

    /// Whether it was woken since [`rest`](Self::rest). What was done before is seen after.
    pub(super) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// Forgets that it was woken. For the one who waits, while nobody else may wake it.
    pub(super) fn rest(&self) {
        self.woken.store(false, Ordering::Relaxed);
    }

    pub(super) fn wants(&self) -> u64 {
        self.wants
    }

    /// Waits until it is woken (`true`) or `deadline` has come; unwinds if the task is cancelled.
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

/// The list, for whoever holds its lock.
pub(super) struct List {
    head: *const Waiter,
    tail: *const Waiter,
    /// Those who have joined so far.
    tickets: u64,
}

// SAFETY: the pointers are followed only under the list's lock, and lead to nodes whose fields are
// atomic, never changed, or touched under that lock.
unsafe impl Send for List {}

impl List {
    const EMPTY: List = List { head: ptr::null(), tail: ptr::null(), tickets: 0 };

    /// The one who has waited longest.
    pub(super) fn front(&self) -> Option<&Waiter> {
        // SAFETY: a node in the list is alive: `Queued` takes it out, under the lock that the owner of
        // `self` holds, before its frame is left.
        unsafe { self.head.as_ref() }
    }

    pub(super) fn is_front(&self, waiter: &Waiter) -> bool {
        ptr::eq(self.head, waiter)
    }

    /// Adds a node at the end.
    ///
    /// # Safety
    ///
    /// `waiter` is in no list, and [`remove`](Self::remove) is called with it before it is moved or
    /// ends.
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

    /// Takes a node out that is in this list or in none; `false` if it was in none any more.
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

    /// Tells the one in front that it was woken, and leaves it where it is. The waker is for use
    /// after the lock.
    #[must_use = "the waiter sleeps until the waker is used"]
    pub(super) fn wake_front(&self) -> Option<Waker> {
        let front = self.front()?;
        // SAFETY: as in `push`.
        let waker = unsafe { (*front.links.get()).waker.clone() };
        front.woken.store(true, Ordering::Release);
        waker
    }

    /// Takes out the one in front and tells it that it was woken. The waker is for use after the lock.
    #[must_use = "the waiter sleeps until the waker is used"]
    pub(super) fn pop(&mut self) -> Option<Waker> {
        let front = self.head;
        // SAFETY: as in `front`; not borrowed from `self`, which changes.
        let front = unsafe { front.as_ref() }?;
        self.remove(front);
        // SAFETY: as in `push`.
        let waker = unsafe { (*front.links.get()).waker.take() };
        // The last touch: its frame may be left from here on.
        front.woken.store(true, Ordering::Release);
        waker
    }
}

/// A list of those who wait, and its lock.
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
    /// `waiter` is in no list, and what is returned is dropped before `waiter` is moved or ends.
    pub(super) unsafe fn join<'a>(
        &'a self,
        mut list: MutexGuard<'a, List>,
        waiter: &'a Waiter,
    ) -> Queued<'a> {
        // SAFETY: the caller's promise: the drop of `Queued` removes it.
        unsafe { list.push(waiter) };
        Queued { queue: self, waiter }
    }

    /// Wakes the one who has waited longest, if there is one.
    pub(super) fn wake_one(&self) {
        let waker = self.lock().pop();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes all that are in `list`, which is this queue's, now; not those who join meanwhile.
    pub(super) fn wake_all<'a>(&'a self, mut list: MutexGuard<'a, List>) {
        let end = list.tickets;
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
                    Some(waker) => waker.wake(),
                    None => last = true,
                }
            }
            if last {
                return;
            }
            list = self.lock();
        }
    }
}

/// A place in a queue; dropped, it is given up.
pub(super) struct Queued<'a> {
    queue: &'a WaitQueue,
    waiter: &'a Waiter,
}

impl Queued<'_> {
    /// Gives the place up; `false` if it was woken, and was not in the list any more.
    pub(super) fn leave(self) -> bool {
        self.remove()
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
