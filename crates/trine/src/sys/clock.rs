//! The clock that all processes of one machine share.

use std::time::Duration;

/// Returns the time of `CLOCK_MONOTONIC`. It is the same for every process of a time namespace,
/// which children share with their parent unless one of them changes it (`unshare`).
pub(crate) fn monotonic() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills `now`; with this clock the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or_default())
}
