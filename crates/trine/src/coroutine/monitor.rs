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
//! A carrier that the kernel gives no core does not make a hog of its coroutine. Only a coroutine
//! that was on a core for most of the limit, or that blocks its thread, is counted.
//!
//! The monitor sleeps while all carriers are idle; a carrier that finds work wakes it. The
//! handshake goes through the lock of the idle list. Either the monitor sees there that a carrier
//! is idle no more, or that carrier, which leaves the list before it looks at `STATE`, sees
//! `ASLEEP`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::carrier;
use super::remote::Remote;
use super::scheduler::Scheduler;
use crate::config::{self, HogWatch};
use crate::sys::futex;
use crate::sys::observe::{self, RunState};
use crate::sys::signal::sample;
use crate::task::registry::SEEN;
use crate::task::slot::Slot;
use crate::task::{Backtrace, TaskInfo};

/// The time that a coroutine may hold its carrier, and the time between two looks.
const LIMIT: Duration = Duration::from_millis(10);
/// The number of tasks that [`hogs`] remembers.
const REMEMBERED: usize = 64;
/// The least time between two reports.
const REPORT_EVERY: Duration = Duration::from_secs(1);

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
    let mut reports = Reports::new(config::settings().hogs);
    let mut watches: Vec<Watch> = Vec::new();
    loop {
        std::thread::sleep(LIMIT);
        for (number, remote) in scheduler.carriers().enumerate() {
            if number == watches.len() {
                watches.push(Watch { since: Instant::now(), on_core: Duration::ZERO, hog: None });
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
    /// The time of the mark, and the CPU time of the carrier's thread by then.
    since: Instant,
    on_core: Duration,
    /// The task, if it was counted.
    hog: Option<TaskInfo>,
}

impl Watch {
    /// Looks at a carrier. Returns true if a coroutine holds it for longer than the limit.
    fn look(&mut self, remote: &'static Remote, reports: &mut Reports) -> bool {
        let word = remote.running.load(Relaxed);
        if word.is_null() {
            return false;
        }
        let thread = remote.thread_id.load(Relaxed);
        let on_core = observe::thread_cpu_time(thread).unwrap_or_default();
        let now = Instant::now();
        if word.addr() & SEEN == 0 {
            (self.since, self.on_core, self.hog) = (now, on_core, None);
            // A failure means that there was a switch.
            let _ = remote.running.compare_exchange(
                word,
                word.map_addr(|at| at | SEEN),
                Relaxed,
                Relaxed,
            );
            return false;
        }
        let held = now - self.since;
        if let Some(task) = &self.hog {
            remember(task, held, false);
            return true;
        }
        if held < LIMIT
            || on_core.saturating_sub(self.on_core) < LIMIT / 2
                && observe::run_state(thread) != RunState::Waiting
        {
            return false;
        }
        // SAFETY: a carrier stores the addresses of registry slots only, which are never freed.
        let slot: &'static Slot = unsafe { &*word.map_addr(|at| at & !SEEN) };
        let task = slot.info();
        // The word is unchanged, so the name that was read is this coroutine's.
        if remote.running.load(Relaxed) != word {
            return false;
        }
        if let Some(task) = task {
            remember(&task, held, true);
            reports.report(&task, held, thread);
            self.hog = Some(task);
        }
        true
    }
}

/// The coroutines that have held their carrier for over 10 ms without a wait or a yield; see
/// [`hogs`].
///
/// ```
/// let hogs = trine::coroutine::hogs();
/// assert!(hogs.recent.len() <= 64);
/// assert!(hogs.count >= hogs.recent.len() as u64);
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Hogs {
    /// The number of times that a coroutine has done so, since the program started.
    pub count: u64,
    /// The last 64 tasks that did, the latest last.
    pub recent: Vec<Hog>,
}

/// A coroutine that has held its carrier for over 10 ms; see [`hogs`].
///
/// ```
/// let hogs = trine::coroutine::hogs();
/// if let Some(worst) = hogs.recent.iter().max_by_key(|hog| hog.longest) {
///     println!("{}: {} times, for up to {:?}", worst.task, worst.times, worst.longest);
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Hog {
    /// The task, as the monitor found it.
    pub task: TaskInfo,
    /// The number of times that it has done so.
    pub times: u64,
    /// The longest of these times, as far as the monitor watched.
    pub longest: Duration,
}

struct Record {
    count: u64,
    recent: VecDeque<Hog>,
}

static RECORD: Mutex<Record> = Mutex::new(Record { count: 0, recent: VecDeque::new() });

/// Locks the record. No code that can panic runs under this lock.
fn record() -> MutexGuard<'static, Record> {
    RECORD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that `task` has held its carrier for `held`: once more if `again`, else still.
fn remember(task: &TaskInfo, held: Duration, again: bool) {
    let mut record = record();
    record.count += u64::from(again);
    let known = record.recent.iter().position(|hog| hog.task.id == task.id);
    let mut hog = known.and_then(|at| record.recent.remove(at)).unwrap_or_else(|| Hog {
        task: task.clone(),
        times: 0,
        longest: Duration::ZERO,
    });
    hog.times += u64::from(again);
    hog.longest = hog.longest.max(held);
    if record.recent.len() == REMEMBERED {
        record.recent.pop_front();
    }
    record.recent.push_back(hog);
}

/// Returns the coroutines that have held their carrier for over 10 ms without a wait or a yield, so
/// that the others there had to wait.
///
/// Such a coroutine computes, or it blocks its thread. Such code belongs on a
/// [thread](crate::thread), or yields now and then.
///
/// Counted as long as the program runs. A hold is noticed after 10 to 20 ms; a shorter hold may be
/// missed. With `TRINE_HOGS=trace` or [`HogWatch::Trace`] the monitor also reports each on standard
/// error.
///
/// ```
/// for hog in trine::coroutine::hogs().recent {
///     eprintln!("{} has held its carrier for {:?}", hog.task, hog.longest);
/// }
/// ```
pub fn hogs() -> Hogs {
    let record = record();
    Hogs { count: record.count, recent: record.recent.iter().cloned().collect() }
}

/// The reports on standard error.
struct Reports {
    wanted: bool,
    /// True if stacks can be sampled.
    stacks: bool,
    last: Option<Instant>,
    left_out: u64,
}

impl Reports {
    fn new(watch: HogWatch) -> Reports {
        let wanted = watch == HogWatch::Trace;
        Reports { wanted, stacks: wanted && sample::install(bounds), last: None, left_out: 0 }
    }

    /// Reports the coroutine that has held the carrier on `thread`, and its stack.
    fn report(&mut self, task: &TaskInfo, held: Duration, thread: u32) {
        if !self.wanted {
            return;
        }
        if self.last.is_some_and(|last| last.elapsed() < REPORT_EVERY) {
            self.left_out += 1;
            return;
        }
        self.last = Some(Instant::now());
        let stack = if self.stacks { sample::take(thread) } else { None };
        let stack = Backtrace::from_addresses(&stack.unwrap_or_default()).to_string();
        let advice = advice(&stack);
        let left_out = match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            more => format!("({more} more since the last report)\n"),
        };
        let millis = held.as_millis();
        // Not `eprintln!`, which panics if standard error cannot be written.
        let _ = io::stderr().write_all(
            format!(
                "\ntrine: {task} has held its carrier for {millis} ms, and goes on; the other \
                 coroutines there wait. Its stack (calls that have returned may be among it):\n\
                 {stack}{advice}{left_out}"
            )
            .as_bytes(),
        );
    }
}

/// Functions of std that block the thread until another task has done something, and the type of
/// trine that parks the coroutine instead.
const BLOCKING: &[(&str, &str)] = &[
    ("sync::once::futex::Once", "sync::OnceLock, LazyLock or Once"),
    ("sync::mutex::futex::Mutex", "sync::Mutex"),
    ("sync::rwlock::futex::RwLock", "sync::RwLock"),
    ("sync::condvar::futex::Condvar", "sync::Condvar"),
];

/// Returns the likely cause, and the remedy, if the printed `stack` shows a coroutine that blocks
/// its carrier in a lock of std.
fn advice(stack: &str) -> String {
    let found = BLOCKING.iter().find(|(function, _)| stack.contains(function));
    found.map_or_else(String::new, |(function, remedy)| {
        format!(
            "It seems to block its thread in std::sys::{function}. If that waits for a coroutine \
             of the same carrier, the carrier stands still. Use trine::{remedy} there.\n"
        )
    })
}

/// Returns the bounds of the stack of the calling thread's coroutine. Runs in the signal handler.
fn bounds() -> Option<(usize, usize)> {
    carrier::current()?.running()?.bounds_if_begun()
}
