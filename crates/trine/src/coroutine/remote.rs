//! The part of a carrier that others touch: where what they wake goes, and what wakes the carrier.

use std::ptr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;
use std::vec;

use crossbeam_deque::Stealer;

use super::carrier::current;
use super::fiber::Fiber;
use super::future::Stackless;
use super::future::timers::Alarms;
use super::scheduler::Fresh;
use crate::reactor::Local;
use crate::sys::futex;
use crate::sys::io::poll::Bell;
use crate::task::slot::Slot;

/// The part of a carrier that others touch. Lives as long as the process.
pub(super) struct Remote {
    pub(super) number: usize,
    inbox: Mutex<Inbox>,
    /// Whether the inbox may hold something, or the first alarm may be an earlier one.
    mail: AtomicBool,
    pub(super) alarms: Alarms,
    /// `AWAKE`, `ASLEEP` or `IN_REACTOR`.
    sleep: AtomicU32,
    /// Ends a sleep in the reactor; made by that.
    pub(super) bell: OnceLock<Bell>,
    /// The slot of the coroutine that runs, or null; the monitor marks it as [`SEEN`](crate::task::registry::SEEN).
    pub(super) running: AtomicPtr<Slot>,
    /// The kernel's id of the carrier's thread; 0 until it runs.
    pub(super) thread_id: AtomicU32,
    /// Wakes the thread, if that is none of the scheduler's and sleeps by itself.
    pub(super) thread: Option<Waker>,
    pub(super) stealer: Stealer<Fresh>,
}

/// What was woken elsewhere.
#[derive(Default)]
struct Inbox {
    fibers: Vec<Arc<Fiber>>,
    futures: Vec<Stackless>,
}

const AWAKE: u32 = 0;
/// The carrier sleeps on the word, or is about to.
const ASLEEP: u32 = 1;
/// It sleeps in its reactor, or is about to.
const IN_REACTOR: u32 = 2;

impl Remote {
    pub(super) fn new(number: usize, stealer: Stealer<Fresh>, thread: Option<Waker>) -> Remote {
        Remote {
            number,
            inbox: Mutex::default(),
            mail: AtomicBool::new(false),
            alarms: Alarms::default(),
            sleep: AtomicU32::new(AWAKE),
            bell: OnceLock::new(),
            running: AtomicPtr::new(ptr::null_mut()),
            thread_id: AtomicU32::new(0),
            thread,
            stealer,
        }
    }

    /// Queues a fiber of this carrier that was woken.
    pub(super) fn queue(&'static self, fiber: Arc<Fiber>) {
        match current() {
            Some(carrier) if ptr::eq(carrier.remote(), self) => carrier.queue(fiber),
            _ => {
                self.lock_inbox().fibers.push(fiber);
                self.call();
            }
        }
    }

    /// Queues a future task of this carrier that was woken.
    pub(super) fn queue_future(&'static self, future: Stackless) {
        match current() {
            Some(carrier) if ptr::eq(carrier.remote(), self) => carrier.queue_future(future),
            _ => {
                self.lock_inbox().futures.push(future);
                self.call();
            }
        }
    }

    /// Has the carrier look at what was left for it.
    pub(super) fn call(&self) {
        self.mail.store(true, SeqCst);
        self.wake();
    }

    /// Takes what was left for the carrier, for its own thread.
    #[inline]
    pub(super) fn open_inbox(
        &self,
        fibers: impl FnOnce(vec::Drain<'_, Arc<Fiber>>),
        futures: impl FnOnce(vec::Drain<'_, Stackless>),
    ) {
        if self.mail.load(Relaxed) {
            self.mail.store(false, SeqCst);
            let mut inbox = self.lock_inbox();
            fibers(inbox.fibers.drain(..));
            futures(inbox.futures.drain(..));
        }
    }

    /// Sleeps until somebody calls [`wake`](Remote::wake), until `deadline`, or until something
    /// happens in `reactor`, for the carrier's own
    /// thread; not if there is mail, or `may_sleep`, which looks after the sleep was announced,
    /// says no.
    pub(super) fn sleep(
        &self,
        deadline: Option<Instant>,
        reactor: Option<&Local>,
        may_sleep: impl FnOnce() -> bool,
    ) {
        let how = if reactor.is_some() { IN_REACTOR } else { ASLEEP };
        self.sleep.store(how, SeqCst);
        fence(SeqCst);
        if !self.mail.load(SeqCst) && may_sleep() {
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

    /// Ends the carrier's sleep, if it sleeps. Whatever it is to find was stored before.
    pub(super) fn wake(&self) {
        if let Some(thread) = &self.thread {
            return thread.wake_by_ref();
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
