//! Timeouts of a socket's reads and writes.

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The two timeouts of a socket; none by default.
#[derive(Debug, Default)]
pub(super) struct Timeouts {
    pub(super) read: Timeout,
    pub(super) write: Timeout,
}

impl Clone for Timeouts {
    fn clone(&self) -> Timeouts {
        Timeouts::new(self.read.get(), self.write.get())
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
}

/// A timeout in nanoseconds; 0 means none.
#[derive(Debug, Default)]
pub(super) struct Timeout(AtomicU64);

impl Timeout {
    #[inline]
    pub(super) fn get(&self) -> Option<Duration> {
        match self.0.load(Relaxed) {
            0 => None,
            limit => Some(Duration::from_nanos(limit)),
        }
    }

    /// Sets the timeout.
    ///
    /// # Errors
    ///
    /// Fails with `InvalidInput` for zero, as std does.
    pub(super) fn set(&self, limit: Option<Duration>) -> io::Result<()> {
        refuse_zero(limit)?;
        self.0.store(nanoseconds(limit), Relaxed);
        Ok(())
    }
}

/// Converts into nanoseconds; 584 years stand for all longer times.
fn nanoseconds(limit: Option<Duration>) -> u64 {
    limit.map_or(0, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
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
