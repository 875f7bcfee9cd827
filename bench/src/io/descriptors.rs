//! The limit on descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit on descriptors of this process, and of those that it starts, to `wanted`, or as
/// far as allowed. Returns the new limit.
pub fn raise_limit(wanted: u64) -> anyhow::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Only a privileged process can exceed its hard limit.
    let more = Rlimit { current: Some(wanted), maximum: maximum.map(|hard| hard.max(wanted)) };
    if setrlimit(Resource::Nofile, more).is_ok() {
        return Ok(wanted);
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(wanted))
}
