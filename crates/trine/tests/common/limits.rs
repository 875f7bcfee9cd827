//! Limits of this process, lowered.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lowers a limit for good, also for those this process starts.
pub fn limit(resource: Resource, most: u64) {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).unwrap();
}

/// Sets what is in force of a limit, and gives what was before.
pub fn limit_for_now(resource: Resource, most: u64) -> Rlimit {
    let before = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(most), ..before }).unwrap();
    before
}
