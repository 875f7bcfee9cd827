//! Waits for room in another socket's queue, which the kernel does not report.
//!
//! Two calls fail with `WouldBlock` because of another socket's queue. The caller's own socket
//! stays ready meanwhile, so neither `poll` nor an epoll reports when there is room:
//!
//! | call | full queue |
//! |---|---|
//! | `connect` of a stream | the listener's backlog |
//! | `send_to` of a datagram | the receiver's queue (`net.unix.max_dgram_qlen`, 10 on many systems) |
//!
//! So these calls are retried: first after others had a turn, then after pauses that grow.

use std::io;
use std::time::Duration;

use crate::reactor::{Backoff, Limit};
use crate::task::wait;

/// First pause; it doubles each time.
const SHORTEST: Duration = Duration::from_micros(20);
/// Longest pause.
const LONGEST: Duration = Duration::from_millis(5);

/// Calls `attempt` until it succeeds or fails with something other than `WouldBlock`, for `limit`
/// in all.
///
/// # Errors
///
/// Fails as `attempt` does, with `TimedOut` after `limit`, with `WouldBlock` if that allows no
/// wait, and when the caller is interrupted.
pub(super) fn retry<T>(
    limit: impl Into<Limit>,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let limit = limit.into();
    let mut backoff = None;
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            done => return done,
        }
        if limit == Limit::NoWait {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(backoff) = &mut backoff else {
            let deadline = limit.deadline();
            backoff = Some(Backoff::new(SHORTEST, LONGEST, deadline));
            wait::pass();
            continue;
        };
        backoff.wait()?;
    }
}
