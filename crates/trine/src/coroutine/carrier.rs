//! A carrier: a thread that runs coroutines, one at a time, each until it waits, yields or ends.
//!
//! ```text
//!   other threads                    the carrier's own
//!   ─────────────                    ─────────────────
//!   wake ──► inbox ──────────────►  ready: started, in turn ◄── yield, wake on this thread
//!                                    futures: likewise, the stackless
//!   steal ◄────────── fresh: not started ──► first run, on a stack of `stacks`
//!                                    timers: those that wait for a time
//!   sleep ──► alarms: futures that wait for a time
//! ```
//!
//! A coroutine stays on the carrier that started it. So the ready queue, the timers and the stacks
//! belong to one thread and need no atomics; only the inbox, the alarms, the deque of not-started ones
//! and the word that the carrier sleeps on are shared ([`Remote`]).
//!
//! Coroutines and futures have turns by the round, [`ROUND`] at most of each: so a switch between
//! coroutines knows nothing of futures, and neither holds up the other, nor timers and inbox.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::{Duration, Instant};

use crossbeam_deque::Worker;

use super::fiber::{self, Fiber, Suspend};
use super::future::Stackless;
use super::monitor;
use super::remote::Remote;
use super::scheduler::{self, Fresh, Scheduler};
use super::stack::StackCache;
use super::timers::Timers;
use crate::reactor::Local;
use crate::sys;
use crate::sys::signal::fault;
use crate::task::{park, registry};

/// Switches between two looks at the inbox, the timers and the work of others.
const ROUND: usize = 64;
/// First runs for each turn of a started one. A parent that joins its children in the order in which it
/// spawned them is woken by the first, and finds some more done.
const STARTS: usize = 8;
/// How many turns before its own a fiber's stack is fetched.
const AHEAD: usize = 8;
/// Rounds between two looks at the injector while there is work at hand.
const INJECTOR_ROUNDS: u64 = 4;
/// The least time between two looks at the reactor of a carrier that has work at hand: a look costs about
/// 0.3 us.
const POLL_EVERY: Duration = Duration::from_micros(50);
/// How long a carrier has been idle when it gives the memory of its free stacks back.
const TRIM_AFTER: Duration = Duration::from_millis(200);
/// Rounds after which a carrier that is never idle does so.
const TRIM_ROUNDS: u64 = 1 << 16;

/// The part of a carrier that its own thread touches.
pub(super) struct Carrier {
    scheduler: &'static Scheduler,
    remote: &'static Remote,
    ready: RefCell<VecDeque<Arc<Fiber>>>,
    futures: RefCell<VecDeque<Stackless>>,
    fresh: Worker<Fresh>,
    /// Those in [`Host::park`](park::Host) with a deadline; who begins a wait there ends it.
    pub(super) timers: RefCell<Timers<NonNull<Fiber>>>,
    /// Not started, and not to be stolen.
    local: RefCell<VecDeque<Arc<Fiber>>>,
    stacks: RefCell<StackCache>,
    /// The fiber that runs; `None` on the carrier's own stack.
    pub(super) running: Cell<Option<NonNull<Fiber>>>,
    rounds: Cell<u64>,
    /// Waiting for descriptors; only of a carrier that has a thread of its own.
    reactor: Option<&'static Local>,
    /// When the reactor was last looked at.
    polled: Cell<Instant>,
    /// In a turn of a thread that is none of the scheduler's.
    pub(super) in_turn: Cell<bool>,
}

thread_local! {
    static CARRIER: Cell<Option<&'static Carrier>> = const { Cell::new(None) };
}

/// The carrier that the caller runs on.
#[inline]
pub(super) fn current() -> Option<&'static Carrier> {
    CARRIER.get()
}

/// Makes `carrier` the calling thread's.
pub(super) fn enter(carrier: &'static Carrier) {
    CARRIER.set(Some(carrier));
    registry::add_carrier(&carrier.remote.running);
    park::install(carrier);
}

/// Takes the calling thread's carrier away. What has begun there is never run again, what has not is
/// refused.
pub(super) fn leave() -> Option<&'static Carrier> {
    let carrier = CARRIER.take()?;
    park::uninstall();
    registry::remove_carrier(&carrier.remote.running);
    while let Some(fiber) = carrier.next_local() {
        if fiber.slot().claim() {
            carrier.refuse(&fiber, "its thread has ended before it had its first turn".into());
        }
    }
    Some(carrier)
}

/// The life of a carrier's thread, which ends with the process.
pub(super) fn run(
    scheduler: &'static Scheduler,
    remote: &'static Remote,
    fresh: Worker<Fresh>,
) -> ! {
    remote.thread_id.store(sys::observe::thread_id(), Relaxed);
    let reactor = Some(Local::enter(&remote.bell));
    let carrier = Carrier::new(scheduler, remote, fresh, StackCache::new(), reactor);
    enter(carrier);
    fault::ensure_signal_stack();
    // Whoever started the thread has counted it as searching.
    carrier.search();
    loop {
        carrier.round();
        carrier.look_around();
        if carrier.has_nothing() && !carrier.poll_reactor() {
            scheduler.begin_search();
            carrier.search();
        }
    }
}

impl Carrier {
    fn new(
        scheduler: &'static Scheduler,
        remote: &'static Remote,
        fresh: Worker<Fresh>,
        stacks: StackCache,
        reactor: Option<&'static Local>,
    ) -> &'static Carrier {
        let now = Instant::now();
        Box::leak(Box::new(Carrier {
            scheduler,
            remote,
            ready: RefCell::default(),
            futures: RefCell::default(),
            fresh,
            local: RefCell::default(),
            timers: RefCell::new(Timers::new(now)),
            stacks: RefCell::new(stacks),
            running: Cell::new(None),
            rounds: Cell::new(0),
            reactor,
            polled: Cell::new(now),
            in_turn: Cell::new(false),
        }))
    }

    /// A carrier of local coroutines only, for a thread that is woken by `thread`.
    pub(super) fn of_thread(thread: Waker, stacks: StackCache) -> &'static Carrier {
        let fresh = Worker::new_fifo();
        let remote = Remote::new(usize::MAX, fresh.stealer(), Some(thread));
        Carrier::new(scheduler::scheduler(), Box::leak(Box::new(remote)), fresh, stacks, None)
    }

    /// Whether this is one of the scheduler's, on a thread of its own.
    pub(super) fn has_own_thread(&self) -> bool {
        self.remote.thread.is_none()
    }

    /// Runs what is at hand: after each turn of a started one, some that were not started.
    pub(super) fn round(&self) {
        let mut turns = 0;
        while turns < ROUND {
            let next = self.next();
            let idle = next.is_none();
            if let Some(fiber) = next {
                self.resume(fiber);
                turns += 1;
            }
            if self.fresh.is_empty() {
                if idle {
                    break;
                }
                continue;
            }
            for _ in 0..STARTS {
                let Some(task) = self.fresh.pop() else { break };
                self.start(task);
                turns += 1;
            }
        }
        for _ in 0..ROUND {
            let next = self.futures.borrow_mut().pop_front();
            let Some(future) = next else { break };
            self.turn(future);
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
        let has_timers = !self.timers.borrow().is_empty() || !self.remote.alarms.is_empty();
        let reactor = self.reactor_in_use();
        if has_timers || reactor.is_some() {
            let now = Instant::now();
            if has_timers {
                self.expire(now);
            }
            if let Some(reactor) = reactor
                && now.duration_since(self.polled.get()) >= POLL_EVERY
            {
                self.polled.set(now);
                reactor.poll();
            }
        }
        self.start_local();
        if rounds.is_multiple_of(INJECTOR_ROUNDS)
            && self.scheduler.has_injected()
            && let Some(task) = self.scheduler.find(self.remote.number, &self.fresh)
        {
            self.start(task);
            self.idle_registers();
        }
        if rounds.is_multiple_of(TRIM_ROUNDS) {
            self.trim();
        }
    }

    /// The reactor, if anybody has ever waited there.
    fn reactor_in_use(&self) -> Option<&'static Local> {
        self.reactor.filter(|reactor| reactor.is_used())
    }

    /// Looks at the reactor, for a carrier that has nothing to do; whether it has now.
    fn poll_reactor(&self) -> bool {
        let Some(reactor) = self.reactor_in_use() else { return false };
        reactor.poll();
        !self.has_nothing()
    }

    /// Starts local coroutines, in order.
    pub(super) fn start_local(&self) {
        for _ in 0..ROUND {
            let Some(fiber) = self.next_local() else { return };
            self.begin(fiber);
            self.idle_registers();
        }
    }

    fn next_local(&self) -> Option<Arc<Fiber>> {
        self.local.borrow_mut().pop_front()
    }

    pub(super) fn open_inbox(&self) {
        self.remote.open_inbox(
            |fibers| self.ready.borrow_mut().extend(fibers),
            |futures| self.futures.borrow_mut().extend(futures),
        );
    }

    /// Wakes those whose time has come. Not inlined: it would cost the loop of switches registers.
    #[inline(never)]
    pub(super) fn expire(&self, now: Instant) {
        self.remote.alarms.ring(now);
        loop {
            let expired = self.timers.borrow_mut().pop_expired(now);
            let Some(fiber) = expired else { return };
            // SAFETY: the fiber is in `park`, which takes its wait back before it returns: so it has
            // not ended, and whoever holds the reference that it runs by holds it still.
            unsafe { fiber::wake(fiber.as_ptr()) };
        }
    }

    pub(super) fn has_nothing(&self) -> bool {
        self.ready.borrow().is_empty()
            && self.fresh.is_empty()
            && self.futures.borrow().is_empty()
            && self.local.borrow().is_empty()
    }

    /// Looks for work elsewhere, and sleeps until there is some. The carrier counts as searching.
    #[cold]
    fn search(&self) {
        let mut idle_since = None;
        loop {
            if let Some(task) = self.scheduler.find(self.remote.number, &self.fresh) {
                self.scheduler.end_search();
                monitor::arm(self.scheduler);
                return self.start(task);
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
                monitor::arm(self.scheduler);
                return self.scheduler.end_search();
            }
        }
    }

    /// Sleeps until somebody calls [`Remote::wake`] or the next timer is due; gives memory back
    /// when that takes long.
    fn sleep(&self, idle_since: Instant) {
        let timer = self.timers.borrow().next_deadline();
        let alarm = self.remote.alarms.next();
        let mut deadline = timer.into_iter().chain(alarm).min();
        if self.stacks.borrow().wants_trim() || self.timers.borrow().wants_trim() {
            let trim_at = idle_since + TRIM_AFTER;
            if Instant::now() >= trim_at {
                self.trim();
            } else if deadline.is_none_or(|deadline| trim_at < deadline) {
                deadline = Some(trim_at);
            }
        }
        // Between the announcements of idleness and of sleep, somebody may have taken us off the
        // idle list to look for work, and found us awake: then we are not listed any more.
        let reactor = self.reactor_in_use();
        self.remote.sleep(deadline, reactor, || self.scheduler.is_idle(self.remote.number));
    }

    /// Gives memory without use back.
    #[cold]
    fn trim(&self) {
        self.stacks.borrow_mut().trim();
        self.timers.borrow_mut().trim();
    }

    /// Gives a task its first run.
    fn start(&self, task: Fresh) {
        match task {
            Fresh::Coroutine(fiber) => self.begin(fiber),
            Fresh::Future(future) => self.turn(future),
        }
    }

    /// Gives a future its turn.
    fn turn(&self, future: Stackless) {
        let slot = future.slot();
        registry::set_current(Some(slot));
        self.remote.running.store(ptr::from_ref(slot).cast_mut(), Relaxed);
        // SAFETY: out of this carrier's queue, or started here, on the carrier's own stack.
        if let Some(future) = unsafe { future.turn(self.remote) } {
            self.futures.borrow_mut().push_back(future);
        }
    }

    /// Gives a fiber its first run, unless it was cancelled before.
    fn begin(&self, fiber: Arc<Fiber>) {
        if !fiber.slot().claim() {
            return;
        }
        let stack = self.stacks.borrow_mut().take(fiber.stack_size());
        match stack {
            Ok(stack) => {
                // SAFETY: claimed, so this is its first run; from here on it is in this carrier's
                // hands until it has ended.
                unsafe { fiber.begin(stack, self.remote) };
                self.resume(fiber);
            }
            Err(reason) => self.refuse(&fiber, reason),
        }
    }

    /// Ends a fiber that the caller has claimed, in place of its first run.
    fn refuse(&self, fiber: &Fiber, reason: String) {
        // What its function owns is dropped here, and may wait, as a thread.
        registry::set_current(None);
        // SAFETY: claimed.
        unsafe { fiber.refuse(reason) };
    }

    /// Lets a fiber run until it suspends or ends.
    #[inline(always)]
    fn resume(&self, fiber: Arc<Fiber>) {
        // SAFETY: this is its carrier; it has begun here and not ended, or it would not be queued.
        registry::set_current(Some(unsafe { fiber.acts_for() }));
        self.remote.running.store(ptr::from_ref(fiber.slot()).cast_mut(), Relaxed);
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

    /// Takes a task that one of this carrier has spawned.
    pub(super) fn spawn(&self, task: Fresh) {
        if !self.has_own_thread() {
            return self.scheduler.inject(task);
        }
        let backlog = !self.fresh.is_empty();
        self.fresh.push(task);
        // One is for this carrier, soon; more are worth waking another for.
        if backlog {
            self.scheduler.notify();
        }
    }

    /// Takes a fiber of this carrier that was woken on its thread.
    #[inline]
    pub(super) fn queue(&self, fiber: Arc<Fiber>) {
        self.ready.borrow_mut().push_back(fiber);
    }

    /// Takes a future of this carrier that was woken on its thread.
    pub(super) fn queue_future(&self, future: Stackless) {
        self.futures.borrow_mut().push_back(future);
    }

    /// Takes a fiber that is to stay here, and was spawned on this thread.
    pub(super) fn spawn_local(&self, fiber: Arc<Fiber>) {
        self.local.borrow_mut().push_back(fiber);
    }

    /// Where the coroutines and generators of this carrier have their stacks from.
    pub(super) fn stacks(&self) -> &RefCell<StackCache> {
        &self.stacks
    }

    /// The part of this carrier that others touch.
    pub(super) fn remote(&self) -> &'static Remote {
        self.remote
    }

    /// The fiber that runs on this carrier, for a caller on its stack.
    #[inline]
    pub(super) fn running(&self) -> Option<&Fiber> {
        // SAFETY: set only while `resume` holds an `Arc` of the fiber.
        self.running.get().map(|fiber| unsafe { fiber.as_ref() })
    }
}
