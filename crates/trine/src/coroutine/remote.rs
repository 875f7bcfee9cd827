//! A carrier as its tasks and other threads know it: the queues that woken tasks go to, and the
//! means to wake the carrier.
//!
//! ```text
//!   wake on the carrier's thread ──► Ready ─────────────────────────────► turns
//!   wake on another thread ────────► inbox of Remote ── drain_inbox ──► Ready
//! ```
//!
//! This file and the two kinds of tasks, `fiber.rs` and `future/mod.rs`, import each other. A task
//! stores its home, so that any waker finds the queue; the home's queues store tasks. A pointer
//! without a type would open that circle, and a cast in each wake-up would close it again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

use super::fiber::Fiber;
use super::future::QueuedFuture;
use super::timers::shared::SharedTimers;
use crate::reactor::Local;
use crate::sys::futex;
use crate::sys::io::poll::Bell;
use crate::task::park;
use crate::task::slot::Slot;

/// The part of a carrier that other threads touch. Lives as long as the process.
pub(super) struct Remote {
    pub(super) number: usize,
    inbox: Mutex<Inbox>,
    /// True if the inbox may hold a task, or the first shared timer may be an earlier one.
    notified: AtomicBool,
    pub(super) timers: SharedTimers,
    /// `AWAKE`, `ASLEEP` or `IN_REACTOR`.
    sleep: AtomicU32,
    /// Ends a sleep in the reactor, which makes it.
    pub(super) bell: OnceLock<Bell>,
    /// The slot of the coroutine that runs, or null. The monitor marks it as
    /// [`SEEN`](crate::task::registry::SEEN).
    pub(super) running: AtomicPtr<Slot>,
    /// The kernel's id of the carrier's thread; 0 until it runs.
    pub(super) thread_id: AtomicU32,
    /// Wakes the thread, if that is none of the scheduler's and sleeps by itself. Another waker
    /// once the carrier has passed to another thread; a late wake-up of the old one does no harm.
    pub(super) thread: Option<Mutex<Waker>>,
}

/// Tasks that were woken on other threads.
#[derive(Default)]
struct Inbox {
    fibers: Vec<Arc<Fiber>>,
    futures: Vec<QueuedFuture>,
}

const AWAKE: u32 = 0;
/// The carrier sleeps on the word, or is about to.
const ASLEEP: u32 = 1;
/// The carrier sleeps in its reactor, or is about to.
const IN_REACTOR: u32 = 2;

/// The ready queues of a carrier, touched by its own thread only.
pub(super) struct Ready {
    remote: &'static Remote,
    pub(super) fibers: RefCell<VecDeque<Arc<Fiber>>>,
    pub(super) futures: RefCell<VecDeque<QueuedFuture>>,
}

thread_local! {
    /// The ready queues of the calling thread's carrier.
    static READY: Cell<Option<&'static Ready>> = const { Cell::new(None) };
}

impl Ready {
    pub(super) fn new(remote: &'static Remote) -> Ready {
        Ready { remote, fibers: RefCell::default(), futures: RefCell::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fibers.borrow().is_empty() && self.futures.borrow().is_empty()
    }

    /// Has wake-ups on the calling thread, which is the carrier's, go straight into these queues.
    pub(super) fn enter(&'static self) {
        READY.set(Some(self));
    }

    /// Ends that: from here on every wake-up goes through the inbox.
    pub(super) fn leave(&self) {
        READY.set(None);
    }

    /// Returns true if the calling thread is a carrier of the scheduler.
    pub(super) fn is_on_carrier() -> bool {
        READY.get().is_some_and(|ready| ready.remote.thread.is_none())
    }

    /// Returns the queues of the calling thread, if they are those of `remote`.
    #[inline(always)]
    fn here(remote: &Remote) -> Option<&'static Ready> {
        READY.get().filter(|ready| ptr::eq(ready.remote, remote))
    }
}

impl Remote {
    pub(super) fn new(number: usize, thread: Option<Waker>) -> Remote {
        Remote {
            number,
            inbox: Mutex::default(),
            notified: AtomicBool::new(false),
            timers: SharedTimers::default(),
            sleep: AtomicU32::new(AWAKE),
            bell: OnceLock::new(),
            running: AtomicPtr::new(ptr::null_mut()),
            thread_id: AtomicU32::new(0),
            thread: thread.map(Mutex::new),
        }
    }

    /// Enqueues a fiber of this carrier that was woken.
    pub(super) fn queue(&'static self, fiber: Arc<Fiber>) {
        match Ready::here(self) {
            Some(ready) => ready.fibers.borrow_mut().push_back(fiber),
            None => {
                self.lock_inbox().fibers.push(fiber);
                self.notify();
            }
        }
    }

    /// Enqueues a future task of this carrier that was woken.
    pub(super) fn queue_future(&'static self, future: QueuedFuture) {
        match Ready::here(self) {
            Some(ready) => ready.futures.borrow_mut().push_back(future),
            None => {
                self.lock_inbox().futures.push(future);
                self.notify();
            }
        }
    }

    /// Has the carrier look at its inbox and its shared timers.
    pub(super) fn notify(&self) {
        self.notified.store(true, SeqCst);
        self.wake();
    }

    /// Moves the tasks of the inbox into `ready`, the carrier's own queues.
    #[inline]
    pub(super) fn drain_inbox(&self, ready: &Ready) {
        if self.notified.load(Relaxed) {
            self.notified.store(false, SeqCst);
            let mut inbox = self.lock_inbox();
            ready.fibers.borrow_mut().extend(inbox.fibers.drain(..));
            ready.futures.borrow_mut().extend(inbox.futures.drain(..));
        }
    }

    /// Sleeps until [`wake`](Remote::wake) is called, `deadline` has come, or an event happens in
    /// `reactor`. For the carrier's own thread.
    ///
    /// Returns at once if the carrier was notified, or if `may_sleep` returns false. `may_sleep`
    /// looks after the sleep was announced.
    pub(super) fn sleep(
        &self,
        deadline: Option<Instant>,
        reactor: Option<&Local>,
        may_sleep: impl FnOnce() -> bool,
    ) {
        let how = if reactor.is_some() { IN_REACTOR } else { ASLEEP };
        self.sleep.store(how, SeqCst);
        fence(SeqCst);
        if !self.notified.load(SeqCst) && may_sleep() {
            match reactor {
                Some(reactor) => reactor.sleep(deadline),
                None => futex::wait(&self.sleep, ASLEEP, deadline),
            }
        }
        self.sleep.store(AWAKE, SeqCst);
    }

    fn lock_inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the carrier's sleep, if it sleeps. The work that it has to find was stored before.
    pub(super) fn wake(&self) {
        if let Some(thread) = &self.thread {
            return park::wake_by_ref(&thread.lock().unwrap_or_else(PoisonError::into_inner));
        }
        fence(SeqCst);
        if self.sleep.load(Relaxed) == AWAKE {
            return;
        }
        match self.sleep.swap(AWAKE, SeqCst) {
            ASLEEP => futex::wake_one(&self.sleep),
            IN_REACTOR => self.bell.get().into_iter().for_each(Bell::ring),
            _ => {}
        }
    }
}
