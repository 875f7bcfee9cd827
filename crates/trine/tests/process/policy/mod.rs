//! A pool's policy for its tasks and workers: retries, limits, bounds, the life of workers, the
//! end.

mod bounds;
mod end;
mod limits;
mod progress;
mod retries;
mod starts;
mod workers;

use std::time::Duration;

use trine::TaskError;

const SHORT: Duration = Duration::from_millis(20);
/// Longer than any test lasts.
const LONG: Duration = Duration::from_secs(3600);

fn pid(_: u64) -> u32 {
    std::process::id()
}

fn stopped(error: &TaskError) {
    assert!(error.is_cancelled() && error.to_string().contains("pool was stopped"), "{error}");
}
