//! Measuring in portions, each with fresh tasks.

use crate::row::{ns_each, timed};

/// Portions of a measurement. One set of tasks may be placed well or badly on the cores, so each
/// portion has tasks of its own.
const PORTIONS: usize = 10;

/// Returns the nanoseconds of each of `n` operations.
///
/// `run` does as many operations as it is passed. One portion warms up and is not counted.
pub fn ns_in_portions(n: usize, run: impl Fn(usize) -> anyhow::Result<()>) -> anyhow::Result<f64> {
    run(n / PORTIONS)?;
    let elapsed = timed(|| (0..PORTIONS).try_for_each(|_| run(n / PORTIONS)))?;
    Ok(ns_each(elapsed, n))
}
