//! The life of a carrier's thread: rounds of turns, looks at the outside, sleep.

use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_deque::Worker;

use super::super::monitor;
use super::super::remote::Remote;
use super::super::scheduler::{Scheduler, Unstarted};
use super::super::stack::{StackCache, overflow, thread};
use super::{Carrier, host};
use crate::config;
use crate::reactor::Local;
use crate::sys;
use crate::sys::{float, signal, thread_end};

/// Rounds between two looks at the injector while there is work at hand.
const INJECTOR_ROUNDS: u64 = 4;
/// The least time between two polls of the reactor by a carrier that has work at hand. A poll costs
/// about 0.3 us.
const POLL_EVERY: Duration = Duration::from_micros(50);
/// The idle time after which a carrier gives the memory of its free stacks back.
const TRIM_AFTER: Duration = Duration::from_millis(200);
/// The number of rounds after which a carrier that is never idle does so.
const TRIM_ROUNDS: u64 = 1 << 16;

/// Returns the scheduler of the process, made at the first spawn.
pub(in crate::coroutine) fn scheduler() -> &'static Scheduler {
    static SCHEDULER: OnceLock<Scheduler> = OnceLock::new();
    SCHEDULER.get_or_init(|| {
        overflow::install();
        float::set_usual();
        Scheduler::new(config::settings().carriers, run)
    })
}

/// Runs a carrier on the calling thread, until the process ends.
fn run(scheduler: &'static Scheduler, remote: &'static Remote, unstarted: Worker<Unstarted>) -> ! {
    remote.thread_id.store(sys::observe::thread_id(), Relaxed);
    let reactor = Some(Local::enter(&remote.bell));
    let carrier = Carrier::new(scheduler, remote, unstarted, StackCache::new(), reactor);
    host::enter(carrier);
    // A coroutine that ends the program by `exit` destroys the thread-locals of the others.
    thread::will_end();
    signal::stack::ensure();
    // A thread begins with those of the thread that has started it, which may be a coroutine's.
    float::restore_usual();
    // The scheduler has counted this carrier as searching when it started the thread.
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
    /// Takes in the work and the events that came from elsewhere meanwhile.
    fn look_around(&self) {
        let rounds = self.rounds.get() + 1;
        self.rounds.set(rounds);
        self.remote.drain_inbox(&self.ready);
        let has_timers = !self.timers.borrow().is_empty() || !self.remote.timers.is_empty();
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
        thread_end::guard();
        if rounds.is_multiple_of(INJECTOR_ROUNDS)
            && self.scheduler.has_injected()
            && let Some(task) = self.scheduler.find(self.remote.number, &self.unstarted)
        {
            self.start(task);
            self.clear_running();
        }
        if rounds.is_multiple_of(TRIM_ROUNDS) {
            self.trim();
        }
    }

    /// Returns the reactor, if any task has ever waited there.
    fn reactor_in_use(&self) -> Option<&'static Local> {
        self.reactor.filter(|reactor| reactor.is_used())
    }

    /// Polls the reactor, for a carrier that has nothing to do. Returns true if it has now.
    fn poll_reactor(&self) -> bool {
        let Some(reactor) = self.reactor_in_use() else { return false };
        reactor.poll();
        !self.has_nothing()
    }

    /// Looks for work elsewhere, and sleeps until there is some. The carrier counts as searching.
    #[cold]
    fn search(&self) {
        let mut idle_since = None;
        loop {
            if let Some(task) = self.scheduler.find(self.remote.number, &self.unstarted) {
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
            self.remote.drain_inbox(&self.ready);
            self.expire(Instant::now());
            if !self.has_nothing() {
                monitor::arm(self.scheduler);
                return self.scheduler.end_search();
            }
        }
    }

    /// Sleeps until [`Remote::wake`] is called or the next timer is due. Gives memory back when
    /// that takes long.
    fn sleep(&self, idle_since: Instant) {
        let timer = self.timers.borrow().next_deadline();
        let shared_timer = self.remote.timers.next_deadline();
        let mut deadline = timer.into_iter().chain(shared_timer).min();
        if self.stacks.borrow().needs_trim() || self.timers.borrow().needs_trim() {
            let trim_at = idle_since + TRIM_AFTER;
            if Instant::now() >= trim_at {
                self.trim();
            } else if deadline.is_none_or(|deadline| trim_at < deadline) {
                deadline = Some(trim_at);
            }
        }
        // Between the announcements of idleness and of sleep, another thread may have taken this
        // carrier off the idle list to look for work, and found it awake. Then it is not listed
        // any more.
        let reactor = self.reactor_in_use();
        self.remote.sleep(deadline, reactor, || self.scheduler.is_idle(self.remote.number));
    }

    /// Gives unused memory back.
    #[cold]
    fn trim(&self) {
        self.stacks.borrow_mut().trim();
        self.timers.borrow_mut().trim();
    }
}
