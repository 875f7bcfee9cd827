//! Coroutines that hold their carrier for long: found, counted, reported, and worked around.
//!
//! One thread looks at the carriers every 10 ms. Each carrier has a word that names the running
//! task, written at each switch. The monitor marks the word ([`SEEN`]); the next switch overwrites
//! the mark, without a look at it. So a mark that is still there at the next look proves that there
//! was no switch in between, and coroutines that do switch pay nothing.
//!
//! ```text
//!   carrier's word     A    A+seen   A+seen   B        B+seen   C      null
//!   the monitor looks     ▲        ▲        ▲        ▲        ▲      ▲      ▲ all idle: sleeps
//!                       marks    A is a hog        marks    marks
//! ```
//!
//! A carrier that the kernel gives no core does not make a hog of its coroutine. Nor does a process
//! that was stopped: the monitor sleeps as long. Time counts only if the thread's own clock went
//! on, or the kernel says that the thread waits.
//!
//! The monitor sleeps while all carriers are idle; a carrier that finds work wakes it. The
//! handshake goes through the lock of the idle list. Either the monitor sees there that a carrier
//! is idle no more, or that carrier, which leaves the list before it looks at `STATE`, sees
//! `ASLEEP`.
//!
//! | file | contents |
//! |---|---|
//! | `mod.rs` | the thread, and its knowledge of each carrier |
//! | `record.rs` | the coroutines that it has found, for the program |
//! | `report.rs` | its reports on standard error |

mod record;
mod report;

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use self::record::remember;
pub use self::record::{Hog, Hogs, hogs};
use self::report::{Hold, Reports};
use super::carrier;
use super::remote::Remote;
use super::scheduler::Scheduler;
use crate::config::{self, HogWatch};
use crate::sys::futex;
use crate::sys::observe::{self, RunState};
use crate::task::TaskInfo;
use crate::task::registry::SEEN;
use crate::task::slot::Slot;

/// The time that a coroutine may hold its carrier, and the time between two looks.
const LIMIT: Duration = Duration::from_millis(10);
/// The most that one look adds to the time of a hold. A longer pause between two looks was one of
/// the monitor too: the process was stopped, or there was no core.
const MOST_SEEN: Duration = Duration::from_millis(50);

/// No carrier has run yet.
const NOT_STARTED: u32 = 0;
/// The monitor looks every 10 ms, or was woken to do so, or is switched off.
const AWAKE: u32 = 1;
/// The monitor sleeps until a carrier wakes it.
const ASLEEP: u32 = 2;

static STATE: AtomicU32 = AtomicU32::new(NOT_STARTED);

/// Starts or wakes the monitor, for a carrier that was idle and has found work. Called after the
/// carrier has left the idle list.
pub(super) fn arm(scheduler: &'static Scheduler) {
    let state = STATE.load(Relaxed);
    if state != AWAKE && STATE.swap(AWAKE, SeqCst) == state {
        call(scheduler, state);
    }
}

#[cold]
fn call(scheduler: &'static Scheduler, state: u32) {
    if state == ASLEEP {
        return futex::wake_one(&STATE);
    }
    if config::settings().hogs != HogWatch::Off {
        let thread = std::thread::Builder::new().name("trine-monitor".into());
        // Without a thread no monitor runs; the tasks themselves are not affected.
        let _ = thread.spawn(move || watch(scheduler));
    }
}

fn watch(scheduler: &'static Scheduler) -> ! {
    let mut reports = Reports::new(config::settings().hogs, bounds);
    let mut watches: Vec<Watch> = Vec::new();
    loop {
        std::thread::sleep(LIMIT);
        for (number, remote) in scheduler.carriers().enumerate() {
            if number == watches.len() {
                watches.push(Watch::new());
            }
            if watches[number].look(remote, &mut reports) && scheduler.has_unstarted(number) {
                // Unstarted tasks need not wait for the hog.
                scheduler.notify();
            }
        }
        if scheduler.all_idle() {
            STATE.store(ASLEEP, SeqCst);
            while scheduler.all_idle() && STATE.load(SeqCst) == ASLEEP {
                futex::wait(&STATE, ASLEEP, None);
            }
            STATE.store(AWAKE, SeqCst);
        }
    }
}

/// The monitor's knowledge of the coroutine that one carrier runs.
struct Watch {
    /// The last look, and the CPU time of the carrier's thread by then.
    looked: Instant,
    on_core: Duration,
    /// The time of the mark.
    marked: Instant,
    /// The time since then for which the coroutine was seen on a core, or to block its thread.
    held: Duration,
    /// The task, if it was counted.
    hog: Option<TaskInfo>,
    reported: bool,
}

impl Watch {
    fn new() -> Watch {
        Watch {
            looked: Instant::now(),
            on_core: Duration::ZERO,
            marked: Instant::now(),
            held: Duration::ZERO,
            hog: None,
            reported: false,
        }
    }

    /// Looks at a carrier. Returns true if a coroutine holds it for longer than the limit.
    fn look(&mut self, remote: &'static Remote, reports: &mut Reports) -> bool {
        let word = remote.running.load(Relaxed);
        if word.is_null() || word.addr() & SEEN == 0 {
            self.end(reports);
        }
        if word.is_null() {
            return false;
        }
        let thread = remote.thread_id.load(Relaxed);
        let on_core = observe::thread_cpu_time(thread).unwrap_or_default();
        let now = Instant::now();
        let step = (now - self.looked).min(MOST_SEEN);
        let computed = on_core.saturating_sub(self.on_core).min(step);
        (self.looked, self.on_core) = (now, on_core);
        if word.addr() & SEEN == 0 {
            // A failure means that there was a switch.
            let _ = remote.running.compare_exchange(
                word,
                word.map_addr(|at| at | SEEN),
                Relaxed,
                Relaxed,
            );
            self.marked = now;
            return false;
        }
        // A look into `/proc` costs more than the rest, so there is none after the report.
        let blocks = computed < step / 2
            && (self.reported || observe::run_state(thread) == RunState::Waiting);
        let part = if blocks { step } else { computed };
        self.held += part;
        if self.hog.is_none() && !self.count(remote, word) {
            return false;
        }
        let Some(task) = &self.hog else { return false };
        remember(task, self.held, false);
        let (held, carrier) = (self.held, remote.number);
        let hold = Hold { task, held, since: self.marked, blocks, carrier, thread };
        self.reported = self.reported || reports.report(&hold);
        true
    }

    /// Counts the coroutine named by `word` if it has held the carrier for long.
    fn count(&mut self, remote: &'static Remote, word: *mut Slot) -> bool {
        if self.held < LIMIT / 2 {
            return false;
        }
        // SAFETY: a carrier stores the addresses of registry slots only, which are never freed.
        let slot: &'static Slot = unsafe { &*word.map_addr(|at| at & !SEEN) };
        self.hog = slot.info();
        // The word is unchanged, so the name that was read is this coroutine's.
        if remote.running.load(Relaxed) != word {
            self.hog = None;
        }
        self.hog.as_ref().inspect(|task| remember(task, self.held, true)).is_some()
    }

    /// Ends the watch of a coroutine, which has let the carrier go.
    fn end(&mut self, reports: &mut Reports) {
        if self.hog.take().is_some() && !self.reported {
            reports.leave_out(self.held);
        }
        (self.held, self.reported) = (Duration::ZERO, false);
    }
}

/// Returns the bounds of the stack of the calling thread's coroutine. Runs in the signal handler.
fn bounds() -> Option<(usize, usize)> {
    carrier::current()?.running()?.bounds_if_begun()
}
