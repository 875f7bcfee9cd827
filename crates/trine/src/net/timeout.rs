//! Timeouts of a socket's reads and writes, and its mode in which they never wait.
//!
//! Both are in one word, so that a read that need not wait looks at one.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::reactor::Limit;

/// The two timeouts of a socket; none by default.
#[derive(Debug, Default)]
pub(super) struct Timeouts {
    pub(super) read: Timeout,
    pub(super) write: Timeout,
}

impl Clone for Timeouts {
    fn clone(&self) -> Timeouts {
        let copy = |timeout: &Timeout| Timeout(AtomicU64::new(timeout.0.load(Relaxed)));
        Timeouts { read: copy(&self.read), write: copy(&self.write) }
    }
}

impl Timeouts {
    /// Takes the timeouts of a socket of std; a descriptor of another kind has none.
    pub(super) fn from_std(
        read: io::Result<Option<Duration>>,
        write: io::Result<Option<Duration>>,
    ) -> Timeouts {
        Timeouts::new(read.ok().flatten(), write.ok().flatten())
    }

    fn new(read: Option<Duration>, write: Option<Duration>) -> Timeouts {
        let timeout = |limit| Timeout(AtomicU64::new(nanoseconds(limit)));
        Timeouts { read: timeout(read), write: timeout(write) }
    }

    /// Makes the calls fail with `WouldBlock` instead of waiting, or lets them wait again.
    pub(super) fn set_nonblocking(&self, nonblocking: bool) {
        for Timeout(word) in [&self.read, &self.write] {
            match nonblocking {
                true => word.fetch_or(NEVER_WAITS, Relaxed),
                false => word.fetch_and(!NEVER_WAITS, Relaxed),
            };
        }
    }

    /// Returns true if the calls never wait.
    pub(super) fn is_nonblocking(&self) -> bool {
        self.read.0.load(Relaxed) & NEVER_WAITS != 0
    }
}

/// The bit of a call that never waits. The timeout below it is kept for later.
const NEVER_WAITS: u64 = 1 << 63;

/// A timeout in nanoseconds, below the bit [`NEVER_WAITS`]; 0 means none.
#[derive(Debug, Default)]
pub(super) struct Timeout(AtomicU64);

impl Timeout {
    /// Returns the longest wait of a call now.
    #[inline]
    pub(super) fn limit(&self) -> Limit {
        match self.0.load(Relaxed) {
            0 => Limit::Endless,
            word if word & NEVER_WAITS != 0 => Limit::NoWait,
            limit => Limit::For(Duration::from_nanos(limit)),
        }
    }

    /// Returns the timeout as it was set.
    pub(super) fn get(&self) -> Option<Duration> {
        let limit = self.0.load(Relaxed) & !NEVER_WAITS;
        (limit != 0).then(|| Duration::from_nanos(limit))
    }

    /// Sets the timeout.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` for zero, as std does.
    pub(super) fn set(&self, limit: Option<Duration>) -> io::Result<()> {
        refuse_zero(limit)?;
        let limit = nanoseconds(limit);
        let _ = self.0.fetch_update(Relaxed, Relaxed, |word| Some(word & NEVER_WAITS | limit));
        Ok(())
    }
}

/// Converts into nanoseconds; 292 years stand for all longer times.
fn nanoseconds(limit: Option<Duration>) -> u64 {
    limit.map_or(0, |limit| {
        u64::try_from(limit.as_nanos()).map_or(NEVER_WAITS - 1, |limit| limit.min(NEVER_WAITS - 1))
    })
}

/// Checks that a timeout is not zero.
///
/// # Errors
///
/// Fails with `InvalidInput` for zero, as std does.
pub(super) fn refuse_zero(limit: Option<Duration>) -> io::Result<()> {
    if limit == Some(Duration::ZERO) {
        let text = "cannot set a 0 duration timeout";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    Ok(())
}
