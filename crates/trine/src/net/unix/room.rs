//! Waiting for room that the kernel does not tell of.
//!
//! Two calls say `WouldBlock` because of somebody else's queue, while the caller's own socket is as
//! ready as it ever is, so that neither `poll` nor an epoll has anything to report when the room is there:
//!
//! | call | full is |
//! |---|---|
//! | `connect` of a stream | the listener's backlog |
//! | `send_to` of a datagram | the receiver's queue (`net.unix.max_dgram_qlen`, 10 on many systems) |
//!
//! So they are tried again, first after a turn of the others, then after pauses that grow.

use std::io;
use std::time::{Duration, Instant};

use crate::task::{park, wait};

/// The first pause; each further one is twice as long.
const SHORTEST: Duration = Duration::from_micros(20);
/// The longest pause.
const LONGEST: Duration = Duration::from_millis(5);

/// Calls `attempt` until it says something other than `WouldBlock`, for `timeout` in all.
///
/// # Errors
///
/// What `attempt` says; `TimedOut` after `timeout`; what ends a wait from outside.
pub(super) fn retry<T>(
    timeout: Option<Duration>,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    let mut deadline = None;
    let mut pause = None;
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            done => return done,
        }
        let now = Instant::now();
        let Some(length) = pause else {
            deadline = timeout.and_then(|timeout| now.checked_add(timeout));
            pause = Some(SHORTEST);
            park::pass();
            continue;
        };
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let until = deadline.map_or(now + length, |deadline| deadline.min(now + length));
        wait::until(until)?;
        pause = Some(LONGEST.min(2 * length));
    }
}
