//! The pause before a restart, and the number of restarts that are too many.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{Failure, Failures, Intensity};

/// The most failures that are kept for the error of a supervisor.
const MOST_FAILURES: usize = 64;

/// The pauses between restarts: none before the first, then twice as long each time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) most: Duration,
}

impl Backoff {
    /// Returns the pause after so many failures in a row: at least half of the full pause.
    /// `jitter`, any number, chooses in the other half.
    pub(super) fn delay(&self, in_a_row: u32, jitter: u32) -> Duration {
        let Some(doublings) = in_a_row.checked_sub(2) else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        let half = self.first.saturating_mul(factor).min(self.most) / 2;
        half.saturating_add(half.mul_f64(f64::from(jitter) / f64::from(u32::MAX)))
    }

    /// Returns true if a child that lived so long is healthy, so that its next failure counts as
    /// the first.
    pub(super) fn heals(&self, lived: Duration) -> bool {
        lived >= self.most
    }
}

/// Returns a number that differs from call to call.
pub(super) fn jitter() -> u32 {
    RandomState::new().hash_one(0) as u32
}

/// The restarts of late, to find that they are too many.
pub(super) struct Restarts {
    pub(super) limit: Intensity,
    recent: VecDeque<Instant>,
    failures: VecDeque<(Arc<str>, Failure)>,
}

impl Restarts {
    pub(super) fn new(limit: Intensity) -> Restarts {
        Restarts { limit, recent: VecDeque::new(), failures: VecDeque::new() }
    }

    /// Counts a failure that calls for a restart. Returns false if there were too many.
    pub(super) fn allow(&mut self, child: &Arc<str>, failure: Failure, now: Instant) -> bool {
        let (most, within) = self.limit;
        self.failures.push_back((Arc::clone(child), failure));
        if self.failures.len() > MOST_FAILURES.min(most.saturating_add(1)) {
            self.failures.pop_front();
        }
        if most == usize::MAX {
            return true;
        }
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|first| now.duration_since(*first) > within) {
            self.recent.pop_front();
        }
        let is_allowed = self.recent.len() <= most;
        // An endless interval keeps no more than it needs.
        if self.recent.len() > most {
            self.recent.pop_front();
        }
        is_allowed
    }

    /// Takes the failures, the oldest first.
    pub(super) fn take_failures(&mut self) -> Failures {
        self.failures.drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_restart_is_at_once_and_later_pauses_double_up_to_the_most() {
        let backoff = Backoff { first: 10 * MS, most: 50 * MS };
        let longest: Vec<_> = (0..7).map(|n| backoff.delay(n, u32::MAX).as_millis()).collect();
        assert_eq!(longest, [0, 0, 10, 20, 40, 50, 50]);
        let shortest: Vec<_> = (0..7).map(|n| backoff.delay(n, 0).as_millis()).collect();
        assert_eq!(shortest, [0, 0, 5, 10, 20, 25, 25]);
        assert_eq!(backoff.delay(u32::MAX, u32::MAX), 50 * MS);
        assert_eq!(Backoff::default().delay(9, 9), Duration::ZERO);
        let endless = Backoff { first: Duration::MAX, most: Duration::MAX };
        assert!(endless.delay(9, u32::MAX) >= Duration::MAX / 2);
        assert!(backoff.heals(50 * MS) && !backoff.heals(49 * MS));
        assert_ne!((jitter(), jitter()), (jitter(), jitter()));
    }

    #[test]
    fn restarts_count_only_within_their_interval() {
        let (name, start) = (Arc::from("child"), Instant::now());
        let mut restarts = Restarts::new((2, 10 * MS));
        let mut allow = |at: u32| restarts.allow(&name, Failure::Finished, start + at * MS);
        assert_eq!([0, 1, 11, 12, 13].map(&mut allow), [true, true, true, true, false]);
        assert_eq!(restarts.take_failures().len(), 3);
        let mut none = Restarts::new((0, Duration::MAX));
        assert!(!none.allow(&name, Failure::Finished, start));
    }
}
