//! A carrier: a thread that runs coroutines, one at a time, each until it waits, yields or ends.
//!
//! ```text
//!   other threads                    the carrier's own
//!   ─────────────                    ─────────────────
//!   wake ──► inbox ──────────────►  ready fibers: started, in turn ◄── yield, wake on this thread
//!                                    ready futures: likewise, the stackless
//!   steal ◄──── unstarted tasks ────► first run, on a stack of `stacks`
//!                                    timers: fibers that wait for a time
//!   sleep ──► shared timers: futures that wait for a time
//! ```
//!
//! A coroutine stays on the carrier that started it. So the ready queues, the timers and the stacks
//! belong to one thread and need no atomics. Only the inbox, the shared timers, the deque of
//! unstarted tasks and the word that the carrier sleeps on are shared ([`Remote`]).
//!
//! Coroutines and futures have turns by the round, [`ROUND`] at most of each. So a switch between
//! coroutines knows nothing of futures, and neither holds up the other, nor timers and inbox.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | the fields of a carrier, and which one the caller runs on |
//! | `turns.rs` | turns: first runs, switches, ends |
//! | `host.rs` | how a coroutine waits: the carrier's row in the table of `task/park.rs` |
//! | `run.rs` | the life of a carrier's thread: rounds, looking for work, sleep |
//! | `locals.rs` | the local coroutines of a thread that is none of the scheduler's |
//! | `end.rs` | the end of such a thread, or of a task there |
//! | `thread.rs` | the carrier of a thread that is none of the scheduler's, such as `main` |

mod end;
pub(super) mod host;
mod locals;
pub(super) mod run;
pub(super) mod thread;
mod turns;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_deque::Worker;

use self::locals::Locals;
use super::fiber::Fiber;
use super::remote::{Ready, Remote};
use super::scheduler::{Scheduler, Unstarted};
use super::stack::StackCache;
use super::timers::Timers;
use crate::reactor::Local;

/// Switches between two looks at the inbox, the timers and the work of others.
const ROUND: usize = 64;

/// The part of a carrier that its own thread touches.
pub(super) struct Carrier {
    scheduler: &'static Scheduler,
    remote: &'static Remote,
    /// Started fibers and futures that are ready to go on.
    ready: Ready,
    /// Tasks that other carriers may steal.
    unstarted: Worker<Unstarted>,
    /// Unstarted fibers that no other carrier may steal.
    local: RefCell<VecDeque<Arc<Fiber>>>,
    /// Fibers in [`Host::park`](crate::task::park::Host::park) with a deadline. The fiber that
    /// begins a wait there also ends it.
    timers: RefCell<Timers<NonNull<Fiber>>>,
    stacks: RefCell<StackCache>,
    /// The fiber that runs; `None` on the carrier's own stack.
    running: Cell<Option<NonNull<Fiber>>>,
    rounds: Cell<u64>,
    /// Waits for descriptors. Only a carrier with a thread of its own has one.
    reactor: Option<&'static Local>,
    /// The last poll of the reactor.
    polled: Cell<Instant>,
    /// True during a turn of a thread that is none of the scheduler's.
    in_turn: Cell<bool>,
    /// The local coroutines of such a thread.
    locals: RefCell<Locals>,
}

thread_local! {
    static CARRIER: Cell<Option<&'static Carrier>> = const { Cell::new(None) };
}

/// Returns the carrier that the caller runs on.
#[inline]
pub(super) fn current() -> Option<&'static Carrier> {
    CARRIER.get()
}

impl Carrier {
    fn new(
        scheduler: &'static Scheduler,
        remote: &'static Remote,
        unstarted: Worker<Unstarted>,
        stacks: StackCache,
        reactor: Option<&'static Local>,
    ) -> &'static Carrier {
        let now = Instant::now();
        Box::leak(Box::new(Carrier {
            scheduler,
            remote,
            ready: Ready::new(remote),
            unstarted,
            local: RefCell::default(),
            timers: RefCell::new(Timers::new(now)),
            stacks: RefCell::new(stacks),
            running: Cell::new(None),
            rounds: Cell::new(0),
            reactor,
            polled: Cell::new(now),
            in_turn: Cell::new(false),
            locals: RefCell::default(),
        }))
    }

    /// Returns true if the carrier is one of the scheduler's, on a thread of its own.
    pub(super) fn has_own_thread(&self) -> bool {
        self.remote.thread.is_none()
    }

    fn has_nothing(&self) -> bool {
        self.ready.is_empty() && self.unstarted.is_empty() && self.local.borrow().is_empty()
    }

    /// Enqueues a task that was spawned by a task of this carrier.
    pub(super) fn spawn(&self, task: Unstarted) {
        if !self.has_own_thread() {
            return self.scheduler.inject(task);
        }
        let backlog = !self.unstarted.is_empty();
        self.unstarted.push(task);
        // This carrier starts a single task soon itself; more are worth waking another carrier.
        if backlog {
            self.scheduler.notify();
        }
    }

    /// Enqueues a fiber that was spawned on this thread and has to stay here.
    #[track_caller]
    pub(super) fn spawn_local(&self, fiber: Arc<Fiber>) {
        fiber.stays_at(self.remote());
        if !self.has_own_thread() {
            let closed = self.locals.borrow().closed;
            assert!(!closed, "{}", locals::TOO_LATE);
            self.locals.borrow_mut().add(&fiber);
        }
        self.local.borrow_mut().push_back(fiber);
    }

    fn next_local(&self) -> Option<Arc<Fiber>> {
        self.local.borrow_mut().pop_front()
    }

    /// Returns the stacks of this carrier's coroutines and generators.
    pub(super) fn stacks(&self) -> &RefCell<StackCache> {
        &self.stacks
    }

    /// Returns the part of this carrier that other threads touch.
    pub(super) fn remote(&self) -> &'static Remote {
        self.remote
    }

    /// Returns the fiber that runs on this carrier, for a caller on its stack.
    #[inline]
    pub(super) fn running(&self) -> Option<&Fiber> {
        // SAFETY: set only while `resume` holds an `Arc` of the fiber.
        self.running.get().map(|fiber| unsafe { fiber.as_ref() })
    }
}
