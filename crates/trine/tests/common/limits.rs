//! Lowering the limits of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lowers a limit permanently, for this process and its children.
pub fn limit(resource: Resource, most: u64) {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) }).unwrap();
}

/// Sets the soft limit. Returns the limits from before.
pub fn limit_for_now(resource: Resource, most: u64) -> Rlimit {
    let before = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(most), ..before }).unwrap();
    before
}
