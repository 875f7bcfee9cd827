//! A carrier: a thread that runs coroutines, one at a time, each until it waits, yields or ends.
//!
//! ```text
//!   other threads                    the carrier's own
//!   ─────────────                    ─────────────────
//!   wake ──► inbox ──────────────►  ready: started, in turn ◄── yield, wake on this thread
//!   steal ◄────────── fresh: not started ──► first run, on a stack of `stacks`
//!                                    timers: those that wait for a time
//! ```
//!
//! A coroutine stays on the carrier that started it. So the ready queue, the timers and the stacks
//! belong to one thread and need no atomics; only the inbox, the deque of not-started ones and the
//! word that the carrier sleeps on are shared ([`Remote`]).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use corosensei::Yielder;
use crossbeam_deque::{Stealer, Worker};

use super::fiber::{self, BeforePark, Fiber, Suspend};
use super::scheduler::Scheduler;
use super::stack::StackCache;
use super::timers::Timers;
use crate::sys::{self, fault, futex};
use crate::task::park;
use crate::task::registry::{self, Slot};

/// Switches between two looks at the inbox, the timers and the work of others.
const ROUND: usize = 64;
/// How many turns before its own a fiber's stack is fetched.
const AHEAD: usize = 8;
/// Rounds between two looks at the injector while there is work at hand.
const INJECTOR_ROUNDS: u64 = 4;
/// How long a carrier has been idle when it gives the memory of its free stacks back.
const TRIM_AFTER: Duration = Duration::from_millis(200);
/// Rounds after which a carrier that is never idle does so.
const TRIM_ROUNDS: u64 = 1 << 16;

/// The part of a carrier that others touch. Lives as long as the process.
pub(super) struct Remote {
    number: usize,
    inbox: Mutex<Vec<Arc<Fiber>>>,
    /// Whether the inbox may hold something.
    mail: AtomicBool,
    /// `AWAKE` or `ASLEEP`; the carrier sleeps on it.
    sleep: AtomicU32,
    /// The slot of the coroutine that runs, or null.
    running: AtomicPtr<Slot>,
    pub(super) stealer: Stealer<Arc<Fiber>>,
}

const AWAKE: u32 = 0;
const ASLEEP: u32 = 1;

impl Remote {
    pub(super) fn new(number: usize, stealer: Stealer<Arc<Fiber>>) -> Remote {
        Remote {
            number,
            inbox: Mutex::new(Vec::new()),
            mail: AtomicBool::new(false),
            sleep: AtomicU32::new(AWAKE),
            running: AtomicPtr::new(ptr::null_mut()),
            stealer,
        }
    }

    /// Queues a fiber of this carrier that was woken.
    pub(super) fn queue(&'static self, fiber: Arc<Fiber>) {
        match current() {
            Some(carrier) if ptr::eq(carrier.remote, self) => {
                carrier.ready.borrow_mut().push_back(fiber)
            }
            _ => {
                self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push(fiber);
                self.mail.store(true, SeqCst);
                self.wake();
            }
        }
    }

    /// Ends the carrier's sleep, if it sleeps. Whatever it is to find was stored before.
    pub(super) fn wake(&self) {
        fence(SeqCst);
        if self.sleep.load(Relaxed) == ASLEEP && self.sleep.swap(AWAKE, SeqCst) == ASLEEP {
            futex::wake_one(&self.sleep);
        }
    }
}

/// The part of a carrier that its own thread touches.
pub(super) struct Carrier {
    scheduler: &'static Scheduler,
    remote: &'static Remote,
    ready: RefCell<VecDeque<Arc<Fiber>>>,
    fresh: Worker<Arc<Fiber>>,
    timers: RefCell<Timers>,
    stacks: RefCell<StackCache>,
    /// The fiber that runs; `None` on the carrier's own stack.
    running: Cell<Option<NonNull<Fiber>>>,
    rounds: Cell<u64>,
}

thread_local! {
    static CARRIER: Cell<Option<&'static Carrier>> = const { Cell::new(None) };
}

/// The carrier that the caller runs on.
#[inline]
pub(super) fn current() -> Option<&'static Carrier> {
    CARRIER.get()
}

/// The life of a carrier's thread, which ends with the process.
pub(super) fn run(
    scheduler: &'static Scheduler,
    remote: &'static Remote,
    fresh: Worker<Arc<Fiber>>,
) -> ! {
    let carrier: &'static Carrier = Box::leak(Box::new(Carrier {
        scheduler,
        remote,
        ready: RefCell::default(),
        fresh,
        timers: RefCell::default(),
        stacks: RefCell::new(StackCache::new()),
        running: Cell::new(None),
        rounds: Cell::new(0),
    }));
    CARRIER.set(Some(carrier));
    registry::add_carrier(&remote.running);
    park::install(carrier);
    fault::ensure_signal_stack();
    // Whoever started the thread has counted it as searching.
    carrier.search();
    loop {
        carrier.round();
        carrier.look_around();
        if carrier.has_nothing() {
            scheduler.begin_search();
            carrier.search();
        }
    }
}

impl Carrier {
    /// Runs what is at hand, started and not-started ones in turn.
    fn round(&self) {
        for _ in 0..ROUND {
            let next = self.next();
            let idle = next.is_none();
            if let Some(fiber) = next {
                self.resume(fiber);
            }
            if self.fresh.is_empty() {
                if idle {
                    break;
                }
            } else if let Some(fiber) = self.fresh.pop() {
                self.start(fiber);
            }
        }
        self.idle_registers();
    }

    /// Takes the next started fiber. In a crowd that no cache holds, a switch waits for memory, one
    /// line after the other; so the lines of those to come are fetched meanwhile, in the order in
    /// which one leads to the next.
    #[inline(always)]
    fn next(&self) -> Option<Arc<Fiber>> {
        let mut ready = self.ready.borrow_mut();
        if let Some(far) = ready.get(2 * AHEAD) {
            sys::prefetch(Arc::as_ptr(far).cast::<u8>());
            ready[AHEAD].prefetch_stack();
        }
        ready.pop_front()
    }

    fn idle_registers(&self) {
        self.remote.running.store(ptr::null_mut(), Relaxed);
        registry::set_current(None);
    }

    /// Takes in what came from elsewhere meanwhile.
    fn look_around(&self) {
        let rounds = self.rounds.get() + 1;
        self.rounds.set(rounds);
        self.open_inbox();
        if !self.timers.borrow().is_empty() {
            self.expire(Instant::now());
        }
        if rounds.is_multiple_of(INJECTOR_ROUNDS)
            && self.scheduler.has_injected()
            && let Some(fiber) = self.scheduler.find(self.remote.number, &self.fresh)
        {
            self.start(fiber);
        }
        if rounds.is_multiple_of(TRIM_ROUNDS) {
            self.stacks.borrow_mut().trim();
        }
    }

    fn open_inbox(&self) {
        if self.remote.mail.load(Relaxed) {
            self.remote.mail.store(false, SeqCst);
            let mut inbox = self.remote.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            self.ready.borrow_mut().extend(inbox.drain(..));
        }
    }

    fn expire(&self, now: Instant) {
        loop {
            let expired = self.timers.borrow_mut().pop_expired(now);
            let Some(fiber) = expired else { return };
            fiber::wake(&fiber);
        }
    }

    fn has_nothing(&self) -> bool {
        self.ready.borrow().is_empty() && self.fresh.is_empty()
    }

    /// Looks for work elsewhere, and sleeps until there is some. The carrier counts as searching.
    #[cold]
    fn search(&self) {
        let mut idle_since = None;
        loop {
            if let Some(fiber) = self.scheduler.find(self.remote.number, &self.fresh) {
                self.scheduler.end_search();
                return self.start(fiber);
            }
            if self.scheduler.begin_idle(self.remote.number) {
                let since = *idle_since.get_or_insert_with(Instant::now);
                self.sleep(since);
                if self.scheduler.end_idle(self.remote.number) {
                    self.scheduler.begin_search();
                }
            }
            self.open_inbox();
            self.expire(Instant::now());
            if !self.has_nothing() {
                return self.scheduler.end_search();
            }
        }
    }

    /// Sleeps until somebody calls [`Remote::wake`] or the next timer is due; gives memory back
    /// when that takes long.
    fn sleep(&self, idle_since: Instant) {
        let mut deadline = self.timers.borrow().next_deadline();
        if self.stacks.borrow().wants_trim() {
            let trim_at = idle_since + TRIM_AFTER;
            if Instant::now() >= trim_at {
                self.stacks.borrow_mut().trim();
            } else if deadline.is_none_or(|deadline| trim_at < deadline) {
                deadline = Some(trim_at);
            }
        }
        self.remote.sleep.store(ASLEEP, SeqCst);
        fence(SeqCst);
        // Between the announcements of idleness and of sleep, somebody may have taken us off the
        // idle list to look for work, and found us awake: then we are not listed any more.
        if !self.remote.mail.load(SeqCst) && self.scheduler.is_idle(self.remote.number) {
            futex::wait(&self.remote.sleep, ASLEEP, deadline);
        }
        self.remote.sleep.store(AWAKE, SeqCst);
    }

    /// Gives a fiber its first run.
    fn start(&self, fiber: Arc<Fiber>) {
        let stack = self.stacks.borrow_mut().take(fiber.stack_size());
        match stack {
            Ok(stack) => {
                // SAFETY: the fiber came out of a queue of not-started ones, so this is its first
                // run; from here on it is in this carrier's hands until it has ended.
                unsafe { fiber.begin(stack, self.remote) };
                self.resume(fiber);
            }
            Err(reason) => {
                // What its function owns is dropped here, and may panic or wait (as a thread) as
                // this task: not as the one that ran before, whose state word has its own waits.
                registry::set_current(Some(fiber.slot()));
                // SAFETY: as above, in place of its first run.
                unsafe { fiber.refuse(reason) };
                registry::set_current(None);
            }
        }
    }

    /// Lets a fiber run until it suspends or ends.
    #[inline(always)]
    fn resume(&self, fiber: Arc<Fiber>) {
        let slot = fiber.slot();
        registry::set_current(Some(slot));
        self.remote.running.store(ptr::from_ref(slot).cast_mut(), Relaxed);
        // The `Arc`'s own pointer, not one to the fiber alone: references are made of it.
        self.running.set(NonNull::new(Arc::as_ptr(&fiber).cast_mut()));
        // SAFETY: on the carrier's own stack; the fiber has begun here and not ended, or it would
        // not be queued.
        let suspended = unsafe { fiber.resume() };
        self.running.set(None);
        match suspended {
            Some(Suspend::Yield) => self.ready.borrow_mut().push_back(fiber),
            // The reference passes to whoever wakes it, maybe already has.
            Some(Suspend::Park) => std::mem::forget(fiber),
            None => self.end(fiber),
        }
    }

    /// Takes the stack of a fiber that has ended.
    fn end(&self, fiber: Arc<Fiber>) {
        // SAFETY: it has ended, here.
        let stack = unsafe { fiber.take_stack() };
        self.stacks.borrow_mut().give_back(stack);
    }

    /// Takes a fiber that a coroutine of this carrier has spawned.
    pub(super) fn spawn(&self, fiber: Arc<Fiber>) {
        let backlog = !self.fresh.is_empty();
        self.fresh.push(fiber);
        // One is for this carrier, soon; more are worth waking another for.
        if backlog {
            self.scheduler.notify();
        }
    }

    /// The fiber that runs on this carrier, for a caller on its stack.
    #[inline]
    pub(super) fn running(&self) -> Option<&Fiber> {
        // SAFETY: set only while `resume` holds an `Arc` of the fiber.
        self.running.get().map(|fiber| unsafe { fiber.as_ref() })
    }

    /// The fiber that the caller is.
    #[inline]
    fn caller(&self) -> &Fiber {
        self.running().expect("the host is asked only by a caller that it carries")
    }

    /// The pointer of the `Arc` of the fiber that the caller is.
    #[inline]
    fn caller_pointer(&self) -> *const Fiber {
        self.running.get().expect("the host is asked only by a caller that it carries").as_ptr()
    }

    /// A reference of one's own to the fiber that the caller is.
    fn caller_arc(&self) -> Arc<Fiber> {
        let fiber = self.caller_pointer();
        // SAFETY: the pointer is that of the `Arc` that `resume` holds while the fiber runs, and the
        // count is raised for the new one.
        unsafe {
            Arc::increment_strong_count(fiber);
            Arc::from_raw(fiber)
        }
    }
}

impl park::Host for Carrier {
    #[inline]
    fn carries_caller(&self) -> bool {
        self.running.get().is_some()
    }

    fn waker(&self) -> Waker {
        // SAFETY: the pointer is that of the `Arc` that `resume` holds while the fiber runs.
        unsafe { Fiber::waker(self.caller_pointer()) }
    }

    fn park(&self, deadline: Option<Instant>) {
        let fiber = self.caller();
        let timer = match deadline {
            // Not without a turn for the others: the caller may look again and again.
            // SAFETY: the caller is the fiber.
            Some(deadline) if deadline <= Instant::now() => unsafe {
                return fiber.suspend(Suspend::Yield);
            },
            Some(deadline) => Some(self.timers.borrow_mut().insert(deadline, self.caller_arc())),
            None => None,
        };
        if fiber.try_park() == BeforePark::Suspend {
            // SAFETY: the caller is the fiber.
            unsafe { fiber.suspend(Suspend::Park) };
        }
        if let Some(timer) = timer {
            self.timers.borrow_mut().cancel(&timer);
        }
    }

    fn may_pass(&self) -> Option<NonNull<Yielder<(), Suspend>>> {
        let fiber = self.running()?;
        if self.has_nothing() { None } else { NonNull::new(fiber.yielder().cast_mut()) }
    }
}
