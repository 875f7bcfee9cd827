//! Locks, signals and channels between coroutines, threads and `main`.

mod barrier;
mod cancel;
mod channel;
#[path = "../common/mod.rs"]
mod common;
mod condvar;
mod event;
mod mutex;
mod notify;
mod once;
mod rwlock;
mod select;
mod semaphore;
mod turns;

use std::time::Duration;

use common::places::{KINDS, spawn};
use common::waiting::{until, until_it_waits};
use trine::Kind;

/// Longer than any test runs, so that a wait with it ends for another reason.
const LONG: Duration = Duration::from_secs(600);
/// The timeout of a wait that is to time out.
const SHORT: Duration = Duration::from_millis(2);

/// Returns the kinds in turn.
fn kind_of(n: usize) -> Kind {
    KINDS[n % KINDS.len()]
}
