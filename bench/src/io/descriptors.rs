//! The limit on descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets this process, and those it starts, have `wanted` descriptors, or as many as it may. How many it may.
pub fn raise_limit(wanted: u64) -> anyhow::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Beyond the hard limit only with privilege.
    let more = Rlimit { current: Some(wanted), maximum: maximum.map(|hard| hard.max(wanted)) };
    if setrlimit(Resource::Nofile, more).is_ok() {
        return Ok(wanted);
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(wanted))
}
