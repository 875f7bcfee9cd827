//! How long the first task of a program takes: what starts without being asked to (carriers,
//! threads, the template of the workers) is paid for here. Measured in a program of its own, once
//! in each.

use std::time::Instant;

use anyhow::bail;
use serde::{Deserialize, Serialize};
use trine::{Executor, Kind};

use super::by_kind::kind_as_word;
use super::part;
use super::sample::{Limits, Spread, nanoseconds};

/// Which kind to use first, for the program that does it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    #[serde(with = "kind_as_word")]
    kind: Kind,
}

/// Nanoseconds from the call of `Kind::spawn` to the result.
pub(crate) fn first_use(kind: Kind, limits: &Limits) -> anyhow::Result<Spread> {
    let mut samples: Vec<f64> = Vec::new();
    let runs = limits.samples.min(7);
    for _ in 0..runs {
        part::ask(&part::Request::FirstUse(Request { kind }), |time| samples.push(time))?
            .check()?;
    }
    if samples.len() < runs {
        bail!("its own program gave no answer");
    }
    Ok(Spread::of(samples, 1))
}

/// Measures, and says the nanoseconds.
pub(crate) fn answer(request: &Request) -> anyhow::Result<()> {
    let start = Instant::now();
    request.kind.spawn((), |()| ()).join()?;
    Ok(part::say(&nanoseconds(start.elapsed()))?)
}
