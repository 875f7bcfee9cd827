//! The reports of the monitor on standard error.
//!
//! By default a coroutine that has held its carrier for a second is reported in one line, at most
//! once a minute. `HogWatch::Trace` reports each hold of 10 ms with its stack, at most one a
//! second.
//!
//! They are written without the lock of `std::io::stderr`, which the coroutine may hold.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::config::HogWatch;
use crate::sys::signal::sample;
use crate::sys::{self, observe};
use crate::task::{Backtrace, TaskInfo};

/// The time on a core, or blocked, after which a coroutine is reported by default.
const LONG: Duration = Duration::from_secs(1);
/// The least time between two lines of the default, and between two stacks.
const LINE_EVERY: Duration = Duration::from_secs(60);
const STACK_EVERY: Duration = Duration::from_secs(1);

/// A coroutine that holds its carrier.
pub(super) struct Hold<'a> {
    pub(super) task: &'a TaskInfo,
    /// The time for which it computed, or blocked the thread.
    pub(super) held: Duration,
    pub(super) since: Instant,
    /// True if it blocks the thread now.
    pub(super) blocks: bool,
    pub(super) carrier: usize,
    /// The kernel's id of the carrier's thread.
    pub(super) thread: u32,
}

/// The reports so far.
pub(super) struct Reports {
    watch: HogWatch,
    /// True if stacks can be sampled.
    stacks: bool,
    last: Option<Instant>,
    left_out: u64,
}

impl Reports {
    pub(super) fn new(watch: HogWatch, bounds: sample::Bounds) -> Reports {
        let stacks = watch == HogWatch::Trace && sample::install(bounds);
        Reports { watch, stacks, last: None, left_out: 0 }
    }

    /// Reports a hold, if it is long enough. Returns true if there is nothing more to report of it.
    pub(super) fn report(&mut self, hold: &Hold<'_>) -> bool {
        let (after, every) = match self.watch {
            HogWatch::Off | HogWatch::Count => return true,
            HogWatch::Warn => (LONG, LINE_EVERY),
            HogWatch::Trace => (Duration::ZERO, STACK_EVERY),
        };
        if hold.held < after || self.last.is_some_and(|last| last.elapsed() < every) {
            return false;
        }
        self.last = Some(Instant::now());
        let text = if self.watch == HogWatch::Warn { self.line(hold) } else { self.stack(hold) };
        sys::write_stderr_raw(&[text.as_bytes()]);
        true
    }

    /// Notes a hold that has ended without a report.
    pub(super) fn leave_out(&mut self, held: Duration) {
        self.left_out += u64::from(self.watch == HogWatch::Trace || held >= LONG);
    }

    fn line(&mut self, hold: &Hold<'_>) -> String {
        let Hold { task, held, carrier, .. } = hold;
        let how = if hold.blocks { "blocked its thread" } else { "computed" };
        let seconds = held.as_secs_f64();
        let since = SystemTime::now()
            .checked_sub(hold.since.elapsed())
            .map_or_else(String::new, time_of_day);
        let call = if hold.blocks { observe::waits_in(hold.thread) } else { None };
        let call = call.map_or_else(String::new, |call| format!(", in {call}"));
        let more = match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            more => format!(" ({more} more since the last such line.)"),
        };
        format!(
            "trine: {task} has {how} for {seconds:.1} s{since}{call}: the other coroutines of \
             carrier {carrier} wait. TRINE_HOGS=trace shows where, TRINE_HOGS=count silences \
             this.{more}\n"
        )
    }

    fn stack(&mut self, hold: &Hold<'_>) -> String {
        let Hold { task, held, thread, .. } = hold;
        let stack = if self.stacks { sample::take(*thread) } else { None };
        let stack = Backtrace::from_addresses(&stack.unwrap_or_default()).to_string();
        let advice = advice(&stack);
        let left_out = match std::mem::take(&mut self.left_out) {
            0 => String::new(),
            more => format!("({more} more since the last report)\n"),
        };
        let millis = held.as_millis();
        format!(
            "\ntrine: {task} has held its carrier for {millis} ms, and goes on; the other \
             coroutines there wait. Its stack (calls that have returned may be among it):\n\
             {stack}{advice}{left_out}"
        )
    }
}

/// Formats the time of day: `, since 13:05:59 UTC`.
fn time_of_day(moment: SystemTime) -> String {
    let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    format!(", since {hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_as_its_time_of_day() {
        let moment = UNIX_EPOCH + Duration::from_secs(3 * 86_400 + 13 * 3600 + 5 * 60 + 9);
        assert_eq!(time_of_day(moment), ", since 13:05:09 UTC");
    }
}
