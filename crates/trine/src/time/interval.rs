//! Ticks at a fixed period.

use std::iter::FusedIterator;
use std::time::{Duration, Instant};

use super::sleep::wait_until;

/// Makes an interval that ticks at once, then every `period`.
///
/// The ticks keep to the times fixed at the start, however long the caller takes between them, so
/// they do not drift. [`MissedTicks`] chooses the fate of ticks that the caller was too late for.
///
/// ```
/// use std::time::Duration;
///
/// let mut interval = trine::time::interval(Duration::from_millis(2));
/// let first = interval.tick(); // at once
/// let second = interval.tick();
/// assert_eq!(second - first, Duration::from_millis(2));
/// ```
///
/// # Panics
///
/// If `period` is zero.
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// Makes an interval that ticks at `start`, then every `period`; see [`interval`].
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now() + Duration::from_millis(2);
/// let mut interval = trine::time::interval_at(start, Duration::from_millis(5));
/// assert_eq!(interval.tick(), start);
/// ```
///
/// # Panics
///
/// If `period` is zero.
#[track_caller]
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    assert!(
        !period.is_zero(),
        "an interval needs a period above zero; to let others run in a loop, call \
         `coroutine::yield_now` or `time::sleep(Duration::ZERO)`"
    );
    Interval { next: Some(start), period, missed: MissedTicks::Burst }
}

/// The fate of ticks that were missed because the caller came a whole period late or more.
///
/// ```
/// use std::time::{Duration, Instant};
/// use trine::time::{self, MissedTicks};
///
/// let start = Instant::now() - Duration::from_millis(35);
/// let ticks = time::interval_at(start, Duration::from_millis(10));
/// let mut ticks = ticks.missed_ticks(MissedTicks::Skip);
/// assert_eq!(ticks.tick(), start);
/// assert!(ticks.tick() - start >= Duration::from_millis(40)); // 10, 20 and 30 are skipped
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTicks {
    /// Missed ticks come one right after the other, until the interval is on time again.
    #[default]
    Burst,
    /// The late tick counts as the start: the next tick comes one period after it.
    Delay,
    /// Missed ticks are skipped: the next tick comes at the next time fixed at the start.
    Skip,
}

/// Ticks at a fixed period; made by [`interval`].
///
/// An endless [`Iterator`] of the times at which the ticks were due:
///
/// ```
/// use std::time::Duration;
///
/// let ticks = trine::time::interval(Duration::from_millis(1));
/// assert_eq!(ticks.take(3).count(), 3);
/// ```
#[derive(Clone, Debug)]
#[must_use = "an interval ticks only while its `tick` is called"]
pub struct Interval {
    /// The moment at which the next tick is due; `None` beyond the clock's range.
    next: Option<Instant>,
    period: Duration,
    missed: MissedTicks,
}

impl Interval {
    /// Chooses the fate of missed ticks; see [`MissedTicks`]. Default: [`MissedTicks::Burst`].
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use trine::time::{self, MissedTicks};
    ///
    /// let (now, period) = (Instant::now(), Duration::from_millis(5));
    /// let ticks = time::interval_at(now - 7 * period, period);
    /// let mut ticks = ticks.missed_ticks(MissedTicks::Delay);
    /// assert_eq!(ticks.tick(), now - 7 * period); // late
    /// assert!(ticks.tick() >= now + period); // a period after the late tick
    /// ```
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Interval {
        self.missed = missed;
        self
    }

    /// Returns the time between two ticks.
    ///
    /// ```
    /// let minute = std::time::Duration::from_secs(60);
    /// assert_eq!(trine::time::interval(minute).period(), minute);
    /// ```
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Waits for the next tick and returns the time at which it was due. A tick that is already due
    /// lets the other coroutines run once.
    ///
    /// A tick is not lost if its wait is ended from outside: the next call waits for it.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    ///
    /// let mut interval = trine::time::interval(Duration::from_millis(1));
    /// for _ in 0..3 {
    ///     let due = interval.tick();
    ///     assert!(Instant::now() >= due);
    /// }
    /// ```
    pub fn tick(&mut self) -> Instant {
        wait_until(self.next);
        let due = self.next.expect("a wait for a time beyond the clock does not end");
        self.next = self.after(due, Instant::now());
        due
    }

    /// Returns the moment of the tick that follows the one due at `due`, given the time `now`.
    fn after(&self, due: Instant, now: Instant) -> Option<Instant> {
        let next = due.checked_add(self.period)?;
        if now < next {
            return Some(next);
        }
        match self.missed {
            MissedTicks::Burst => Some(next),
            MissedTicks::Delay => now.checked_add(self.period),
            MissedTicks::Skip => {
                let into = (now - due).as_nanos() % self.period.as_nanos();
                let second = 1_000_000_000;
                let into = Duration::new((into / second) as u64, (into % second) as u32);
                now.checked_add(self.period - into)
            }
        }
    }
}

impl Iterator for Interval {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        Some(self.tick())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}

impl FusedIterator for Interval {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_that_were_missed_burst_wait_or_are_left_out() {
        let ms = Duration::from_millis;
        let due = Instant::now();
        let next = |missed, period, late| {
            let interval = interval_at(due, period).missed_ticks(missed);
            interval.after(due, due + late).map(|next| next - due)
        };
        for missed in [MissedTicks::Burst, MissedTicks::Delay, MissedTicks::Skip] {
            assert_eq!(next(missed, ms(10), ms(9)), Some(ms(10)), "late, but none is missed");
            assert_eq!(next(missed, Duration::MAX, ms(9)), None);
        }
        assert_eq!(next(MissedTicks::Burst, ms(10), ms(35)), Some(ms(10)));
        assert_eq!(next(MissedTicks::Delay, ms(10), ms(35)), Some(ms(45)));
        assert_eq!(next(MissedTicks::Skip, ms(10), ms(35)), Some(ms(40)));
        assert_eq!(next(MissedTicks::Skip, ms(10), ms(40)), Some(ms(50)));
        let nanosecond = Duration::from_nanos(1);
        assert_eq!(next(MissedTicks::Skip, nanosecond, ms(40)), Some(ms(40) + nanosecond));
    }
}
