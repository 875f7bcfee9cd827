//! Sleeping on an atomic word until another thread of this process says that it changed.

use std::sync::atomic::AtomicU32;
use std::time::Instant;

use rustix::thread::futex;

/// Sleeps while `word` holds `expected`, at most until `deadline`.
///
/// May return early for no reason; the caller looks at `word` again.
pub(crate) fn wait(word: &AtomicU32, expected: u32, deadline: Option<Instant>) {
    let timeout = match deadline {
        None => None,
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // More seconds than the kernel's clock can count is as good as no deadline.
            i64::try_from(left.as_secs())
                .ok()
                .map(|tv_sec| futex::Timespec { tv_sec, tv_nsec: left.subsec_nanos().into() })
        }
    };
    // EAGAIN (the word has changed), EINTR and ETIMEDOUT all mean the same here: look again.
    let _ = futex::wait(word, futex::Flags::PRIVATE, expected, timeout.as_ref());
}

/// Wakes one thread that sleeps on `word`.
pub(crate) fn wake_one(word: &AtomicU32) {
    let _ = futex::wake(word, futex::Flags::PRIVATE, 1);
}
