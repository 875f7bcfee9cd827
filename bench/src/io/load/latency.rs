//! A histogram of response times, in bins that are three per cent wide.

use std::time::Duration;

/// Bins in each power of two.
const STEPS: u64 = 32;

/// A histogram, exact below 32 ns, log-linear above.
pub struct Latency {
    bins: Vec<u32>,
    count: u64,
}

impl Latency {
    pub fn new() -> Latency {
        Latency { bins: vec![0; bin(u64::MAX) + 1], count: 0 }
    }

    #[inline]
    pub fn add(&mut self, took: Duration) {
        self.bins[bin(took.as_nanos() as u64)] += 1;
        self.count += 1;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the time within which `share` of the answers arrived.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut left = (self.count as f64 * share) as u64;
        for (i, &n) in self.bins.iter().enumerate() {
            if left <= u64::from(n) {
                return Duration::from_nanos(beginning(i + 1));
            }
            left -= u64::from(n);
        }
        Duration::MAX
    }
}

fn bin(ns: u64) -> usize {
    if ns < STEPS {
        return ns as usize;
    }
    let power = ns.ilog2() - STEPS.ilog2();
    (u64::from(power) * STEPS + (ns >> power)) as usize
}

/// Returns the smallest value in a bin.
fn beginning(bin: usize) -> u64 {
    let bin = bin as u64;
    match bin / STEPS {
        0 => bin,
        row => (STEPS + bin % STEPS) << (row - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bin_begins_where_the_last_one_ends() {
        for i in 0..1_000 {
            let first = beginning(i);
            assert_eq!((bin(first), bin(beginning(i + 1) - 1)), (i, i), "bin {i}");
        }
    }

    #[test]
    fn a_quantile_is_within_a_bin_of_the_truth() {
        let mut latency = Latency::new();
        (1..=10_000).for_each(|us| latency.add(Duration::from_micros(us)));
        let found = latency.quantile(0.99).as_secs_f64() / 9_900e-6;
        assert!((1.0..1.04).contains(&found), "{found}");
    }
}
