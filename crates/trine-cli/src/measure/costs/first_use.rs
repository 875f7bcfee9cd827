//! The time of the first task of a program. It includes everything that starts implicitly:
//! carriers, threads, the template of the workers. Each sample needs a program of its own.

use std::time::Instant;

use trine::{Executor, Kind};

use crate::measure::part;
use crate::measure::request::Request;
use crate::measure::sample::{Limits, Spread, nanoseconds};

/// Measures the nanoseconds from the call of `Kind::spawn` to the result.
pub(crate) fn first_use(kind: Kind, limits: &Limits) -> anyhow::Result<Spread> {
    let runs = limits.samples.min(7);
    Ok(Spread::of(part::numbers(&Request::FirstUse { kind }, runs)?, 1))
}

/// Measures once, in the program made for it, and sends the nanoseconds.
pub(crate) fn answer(kind: Kind) -> anyhow::Result<()> {
    let start = Instant::now();
    kind.spawn((), |()| ()).join()?;
    Ok(part::send(&nanoseconds(start.elapsed()))?)
}
