//! One task of each kind, run and joined.

use std::time::{Duration, Instant};

use trine::Kind;

use super::check::Check;
use crate::measure::sample::nanoseconds;
use crate::report::unit;

/// The name of the check of processes.
pub(super) const PROCESSES: &str = "processes";

/// The longest time for one task. The first task of a program takes milliseconds.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn checks() -> Vec<Check> {
    Kind::ALL.map(check).into()
}

fn check(kind: Kind) -> Check {
    let (name, start) = (name(kind), Instant::now());
    let task = match kind {
        Kind::Coroutine => trine::coroutine::spawn(|| 42),
        Kind::Thread => trine::thread::spawn(|| 42),
        Kind::Process => trine::process::spawn(6, |n: u32| n * 7),
    };
    match task.join_timeout(LIMIT) {
        Ok(Ok(42)) => {
            let took = unit::TIME.show(nanoseconds(start.elapsed()));
            Check::works(name, format!("the first one took {took}"))
        }
        Ok(Ok(other)) => Check::missing(name, format!("6 × 7 is {other} there"), None),
        // The error names the limit that was met, and the remedy.
        Ok(Err(error)) => Check::missing(name, error.cause().to_string(), None),
        Err(task) => {
            task.cancel();
            let text = format!("one has not ended within {} s", LIMIT.as_secs());
            Check::missing(name, text, String::from("try again when the machine is less busy"))
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Coroutine => "coroutines",
        Kind::Thread => "threads",
        Kind::Process => PROCESSES,
    }
}
