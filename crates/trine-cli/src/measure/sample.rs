//! Repetitions, medians and spreads.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The time and memory that the measurements may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Samples of each measurement.
    pub(crate) samples: usize,
    /// The time after which no further sample is begun, once there are three.
    pub(crate) budget: Duration,
    /// The intended time of a sample of many short operations.
    pub(crate) sample_time: Duration,
    /// Coroutines at once: enough to measure the cost of each.
    pub(crate) coroutines: usize,
    /// Threads at once.
    pub(crate) threads: usize,
    /// Processes at once.
    pub(crate) processes: usize,
    /// Rounds over the whole workload.
    pub(crate) rounds: usize,
    /// The time within which the rounds have to end.
    pub(crate) workload_budget: Duration,
}

impl Limits {
    pub(crate) const FULL: Limits = Limits {
        samples: 31,
        budget: Duration::from_millis(900),
        sample_time: Duration::from_millis(5),
        coroutines: 20_000,
        threads: 256,
        processes: 32,
        rounds: 15,
        workload_budget: Duration::from_secs(12),
    };

    pub(crate) const QUICK: Limits = Limits {
        samples: 9,
        budget: Duration::from_millis(120),
        sample_time: Duration::from_millis(1),
        coroutines: 4_000,
        threads: 64,
        processes: 8,
        rounds: 3,
        workload_budget: Duration::from_secs(2),
    };

    /// Returns the number of tasks of this kind at once.
    pub(crate) fn tasks(&self, kind: trine::Kind) -> usize {
        match kind {
            trine::Kind::Coroutine => self.coroutines,
            trine::Kind::Thread => self.threads,
            trine::Kind::Process => self.processes,
        }
    }
}

/// The median of samples, and their spread around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The number of samples.
    pub(crate) samples: usize,
    /// The number of operations in each sample; the sample is their mean.
    pub(crate) operations: usize,
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) p95: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Returns true if the samples are too far apart for their median to say much: by a factor of
    /// ten between the least and the 95th percentile.
    pub(crate) fn is_unsteady(&self) -> bool {
        self.p95 >= 10.0 * self.min
    }

    /// Makes the spread of one or more samples, each the mean of `operations` operations.
    pub(crate) fn of(mut samples: Vec<f64>, operations: usize) -> Spread {
        samples.sort_by(f64::total_cmp);
        // The nearest-rank percentile: always one of the samples.
        let rank = |percent: usize| samples[(samples.len() * percent).div_ceil(100).max(1) - 1];
        Spread {
            samples: samples.len(),
            operations,
            min: samples[0],
            median: rank(50),
            p95: rank(95),
            max: samples[samples.len() - 1],
        }
    }
}

/// Takes samples of `once`, which runs as many operations as it is passed and returns the
/// nanoseconds of each.
///
/// Doubles the number of operations from one until a sample takes `sample_time`. These first runs
/// warm up and are not counted.
pub(crate) fn calibrated<E>(
    limits: &Limits,
    mut once: impl FnMut(usize) -> Result<f64, E>,
) -> Result<Spread, E> {
    let start = Instant::now();
    let enough = limits.sample_time.as_nanos() as f64;
    let mut operations = 1;
    while once(operations)? * operations as f64 <= enough && start.elapsed() < limits.budget {
        operations *= 2;
    }
    fixed(limits, operations, once)
}

/// Takes samples of `once` with a fixed number of operations.
pub(crate) fn fixed<E>(
    limits: &Limits,
    operations: usize,
    mut once: impl FnMut(usize) -> Result<f64, E>,
) -> Result<Spread, E> {
    let start = Instant::now();
    let mut samples = Vec::with_capacity(limits.samples);
    while samples.len() < 3 || samples.len() < limits.samples && start.elapsed() < limits.budget {
        samples.push(once(operations)?);
    }
    Ok(Spread::of(samples, operations))
}

/// Returns the nanoseconds of each of the operations that `run` does.
pub(crate) fn time_each<E>(
    operations: usize,
    run: impl FnOnce() -> Result<(), E>,
) -> Result<f64, E> {
    let start = Instant::now();
    run()?;
    Ok(nanoseconds(start.elapsed()) / operations as f64)
}

/// Converts a duration to nanoseconds.
pub(crate) fn nanoseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let spread = Spread::of((1..=100).rev().map(f64::from).collect(), 1);
        assert_eq!((spread.min, spread.median, spread.p95, spread.max), (1.0, 50.0, 95.0, 100.0));
        let spread = Spread::of(vec![7.0], 1);
        assert_eq!((spread.min, spread.median, spread.p95, spread.max), (7.0, 7.0, 7.0, 7.0));
    }

    #[test]
    fn a_tenfold_spread_is_unsteady() {
        assert!(!Spread::of(vec![1.0, 1.2, 9.9], 1).is_unsteady());
        assert!(Spread::of(vec![1.0, 1.2, 10.0], 1).is_unsteady());
        // One sample of many is not the 95th percentile.
        let mut samples = vec![1.0; 99];
        samples.push(1000.0);
        assert!(!Spread::of(samples, 1).is_unsteady());
    }

    #[test]
    fn operations_grow_until_a_sample_is_long_enough() {
        let spread = calibrated(&Limits::FULL, |_| Ok::<_, ()>(1e6)).unwrap();
        assert_eq!(spread.operations, 8);
        assert_eq!(spread.samples, Limits::FULL.samples);
    }
}
