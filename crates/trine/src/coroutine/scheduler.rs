//! The state that carriers share: unstarted tasks, and the list of carriers that sleep.
//!
//! ```text
//!   spawn from a thread ──► injector ─┐
//!                                     ├─► a carrier: deque of unstarted tasks ─► first run
//!   spawn from a coroutine ───────────┘        ▲ stolen by carriers that have nothing
//! ```
//!
//! No carrier spins. A task that adds work wakes one sleeping carrier, unless a carrier is already
//! searching. A carrier that finds work wakes the next one while there is more. This is the scheme
//! of Go and tokio, after D. Vyukov, "Scalable Go scheduler design", 2012.
//!
//! Ordering: this is a Dekker handshake. One side adds work and then looks for sleepers; the other
//! announces its sleep and then looks for work. A `SeqCst` fence separates the two steps of each
//! side.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicUsize, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crossbeam_deque::{Injector, Steal, Stealer, Worker};

use super::fiber::Fiber;
use super::future::QueuedFuture;
use super::remote::Remote;
use crate::sys::limits;
use crate::sys::process::fork_detect;

/// A task that was not started yet. Two words: the null pointer of one variant marks the other.
pub(super) enum Unstarted {
    Coroutine(Arc<Fiber>),
    Future(QueuedFuture),
}

const _: () = assert!(size_of::<Unstarted>() == size_of::<Arc<Fiber>>());

impl Unstarted {
    /// Ends the task without starting it.
    ///
    /// # Safety
    ///
    /// The caller has taken the task out of a queue, so that it owns it.
    pub(super) unsafe fn refuse(self, reason: String) {
        match self {
            Unstarted::Coroutine(fiber) => {
                if fiber.slot().claim() {
                    // SAFETY: claimed, and not begun.
                    unsafe { fiber.refuse(reason) };
                }
            }
            Unstarted::Future(future) => future.refuse(reason),
        }
    }
}

/// The life of a carrier's thread.
pub(super) type Run = fn(&'static Scheduler, &'static Remote, Worker<Unstarted>) -> !;

/// A carrier that was started, and the end of its deque that others steal from.
struct Started {
    remote: &'static Remote,
    stealer: Stealer<Unstarted>,
}

/// The one scheduler of the process.
pub(super) struct Scheduler {
    injector: Injector<Unstarted>,
    /// The life of a carrier's thread. A field, since carriers stand above the scheduler.
    run: Run,
    max_carriers: usize,
    carriers: Box<[OnceLock<Started>]>,
    started: AtomicUsize,
    /// Carriers that search for work, or that were woken or started to search.
    searching: AtomicUsize,
    /// The length of `idle`.
    idle_count: AtomicUsize,
    /// Carriers that sleep or are about to, by number.
    idle: Mutex<Vec<usize>>,
}

impl Scheduler {
    /// Makes a scheduler of at most `max_carriers` carriers, whose threads run `run`.
    pub(super) fn new(max_carriers: usize, run: Run) -> Scheduler {
        Scheduler {
            injector: Injector::new(),
            run,
            max_carriers,
            carriers: std::iter::repeat_with(OnceLock::new).take(max_carriers).collect(),
            started: AtomicUsize::new(0),
            searching: AtomicUsize::new(0),
            idle_count: AtomicUsize::new(0),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// Adds a task that no carrier has. In a copy of the program, made by `fork`, ends it: the
    /// carriers are the original's.
    pub(super) fn inject(&'static self, task: Unstarted) {
        if fork_detect::lacks_threads() {
            // SAFETY: it was put into no queue, and is the caller's.
            return unsafe { task.refuse(fork_detect::explain("carriers exist")) };
        }
        self.injector.push(task);
        self.notify();
    }

    /// Announces work that any carrier may take.
    pub(super) fn notify(&'static self) {
        fence(SeqCst);
        if self.searching.load(SeqCst) > 0 {
            return;
        }
        if self.idle_count.load(SeqCst) > 0 {
            self.wake_one();
        } else if self.started.load(Relaxed) < self.max_carriers {
            self.start_one();
        }
    }

    fn wake_one(&self) {
        let mut idle = self.lock_idle();
        let Some(number) = idle.pop() else { return };
        self.idle_count.store(idle.len(), SeqCst);
        self.searching.fetch_add(1, SeqCst);
        drop(idle);
        self.carrier(number).remote.wake();
    }

    #[cold]
    fn start_one(&'static self) {
        // Under the lock, so that no number is started twice.
        let idle = self.lock_idle();
        let number = self.started.load(Relaxed);
        if number == self.max_carriers {
            return;
        }
        let unstarted = Worker::new_fifo();
        let stealer = unstarted.stealer();
        let boxed = Box::into_raw(Box::new(Remote::new(number, None)));
        // SAFETY: a `Box`'s own pointer; freed below only if no other copy is left.
        let remote: &'static Remote = unsafe { &*boxed };
        let name = format!("trine-co-{number}");
        self.searching.fetch_add(1, SeqCst);
        let thread = std::thread::Builder::new().name(name);
        match thread.spawn(move || (self.run)(self, remote, unstarted)) {
            Ok(_) => {
                let set = self.carriers[number].set(Started { remote, stealer }).is_ok();
                assert!(set, "each number is started once");
                self.started.store(number + 1, SeqCst);
                fork_detect::note_thread();
            }
            Err(error) => {
                // SAFETY: the closure of the refused thread was dropped, and held the only other
                // copy of the reference.
                drop(unsafe { Box::from_raw(boxed) });
                self.searching.fetch_sub(1, SeqCst);
                drop(idle);
                if number == 0 {
                    self.refuse_all(&error);
                } else {
                    // A spawner meanwhile may have counted on this searcher, which never started.
                    self.wake_one();
                }
            }
        }
    }

    /// Ends all spawned tasks: there is no carrier, and none can be started.
    #[cold]
    fn refuse_all(&self, error: &std::io::Error) {
        loop {
            match self.injector.steal() {
                // SAFETY: stolen from the queue.
                Steal::Success(task) => unsafe {
                    task.refuse(limits::explain_refused_task("thread, for coroutines", error));
                },
                Steal::Retry => {}
                Steal::Empty => return,
            }
        }
    }

    /// Takes work from outside into `unstarted`: from the injector, else from another carrier.
    pub(super) fn find(&self, number: usize, unstarted: &Worker<Unstarted>) -> Option<Unstarted> {
        loop {
            let mut retry = false;
            match self.injector.steal_batch_and_pop(unstarted) {
                Steal::Success(task) => return Some(task),
                Steal::Retry => retry = true,
                Steal::Empty => {}
            }
            // Begin behind this carrier, so that thieves spread over the victims.
            let started = self.started.load(SeqCst);
            for other in (number + 1..started).chain(0..number.min(started)) {
                match self.carrier(other).stealer.steal_batch_and_pop(unstarted) {
                    Steal::Success(task) => return Some(task),
                    Steal::Retry => retry = true,
                    Steal::Empty => {}
                }
            }
            if !retry {
                return None;
            }
        }
    }

    /// Returns true if the injector holds tasks.
    pub(super) fn has_injected(&self) -> bool {
        !self.injector.is_empty()
    }

    fn has_work(&self) -> bool {
        let started = self.started.load(SeqCst);
        self.has_injected() || (0..started).any(|other| !self.carrier(other).stealer.is_empty())
    }

    /// Counts a carrier that begins to search for work.
    pub(super) fn begin_search(&self) {
        self.searching.fetch_add(1, SeqCst);
    }

    /// Ends the search of a carrier that has found work, and leaves the next task to others.
    pub(super) fn end_search(&'static self) {
        if self.searching.fetch_sub(1, SeqCst) == 1 && self.has_work() {
            self.notify();
        }
    }

    /// Lists a carrier as idle that has found nothing and will sleep. Returns false if there is
    /// work after all; then the carrier is not idle.
    #[must_use = "a carrier must not sleep over work"]
    pub(super) fn begin_idle(&self, number: usize) -> bool {
        let mut idle = self.lock_idle();
        idle.push(number);
        self.idle_count.store(idle.len(), SeqCst);
        drop(idle);
        self.searching.fetch_sub(1, SeqCst);
        fence(SeqCst);
        if !self.has_work() {
            return true;
        }
        // If another thread has woken this carrier meanwhile, it also counted it as a searcher.
        if self.end_idle(number) {
            self.begin_search();
        }
        false
    }

    /// Takes a carrier that sleeps no more off the idle list. Returns false if another thread woke
    /// it to search for work, which counts it as searching already.
    pub(super) fn end_idle(&self, number: usize) -> bool {
        let mut idle = self.lock_idle();
        let Some(at) = idle.iter().position(|&other| other == number) else {
            return false;
        };
        idle.swap_remove(at);
        self.idle_count.store(idle.len(), SeqCst);
        true
    }

    /// Returns true if a carrier that announced its idleness has not been woken since.
    pub(super) fn is_idle(&self, number: usize) -> bool {
        self.lock_idle().contains(&number)
    }

    /// Returns the first carrier, and starts it if need be. `None` if no thread could be started,
    /// or the carriers are those of the process that this one is a copy of.
    pub(super) fn first(&'static self) -> Option<&'static Remote> {
        if fork_detect::lacks_threads() {
            return None;
        }
        if self.started.load(SeqCst) == 0 {
            self.start_one();
        }
        self.carriers[0].get().map(|carrier| carrier.remote)
    }

    /// Returns true if no carrier has anything to do.
    pub(super) fn all_idle(&self) -> bool {
        // A carrier that is being started counts as busy: the lock is held until it is listed.
        let idle = self.lock_idle();
        idle.len() == self.started.load(SeqCst)
    }

    /// Returns the carriers started so far, by number.
    pub(super) fn carriers(&self) -> impl Iterator<Item = &'static Remote> {
        (0..self.started.load(SeqCst)).map(|number| self.carrier(number).remote)
    }

    /// Returns true if other carriers may steal tasks of carrier `number`.
    pub(super) fn has_unstarted(&self, number: usize) -> bool {
        !self.carrier(number).stealer.is_empty()
    }

    fn carrier(&self, number: usize) -> &Started {
        self.carriers[number].get().expect("only numbers below `started` are asked for")
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<usize>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
