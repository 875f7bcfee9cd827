//! The smallest task, the smallest program, and timed calls.

use std::process::Command;
use std::time::Instant;

use crate::row::us_each;

/// The smallest task: returns the next number.
pub fn next(n: u64) -> u64 {
    n + 1
}

/// Runs the program `true`.
pub fn run_true() -> anyhow::Result<()> {
    let status = Command::new("true").status()?;
    anyhow::ensure!(status.success(), "true was false");
    Ok(())
}

/// Calls `call` with the numbers below `n`, one after the other, and returns the microseconds of a
/// call. Each call has to return the next number.
pub fn us_per_call(
    n: usize,
    call: &mut impl FnMut(u64) -> anyhow::Result<u64>,
) -> anyhow::Result<f64> {
    let start = Instant::now();
    for i in 0..n as u64 {
        anyhow::ensure!(call(i)? == i + 1, "a wrong result");
    }
    Ok(us_each(start.elapsed(), n))
}
