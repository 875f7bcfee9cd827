//! Accepting connections when the process has no descriptor or the kernel no memory left.
//!
//! The connection stays in the listener's queue, and the listener stays ready. A loop that retried
//! at once would keep a core busy until a descriptor is closed. So `accept` pauses, longer each
//! time, and then goes on by itself. It reports this once, and again only after a while without it:
//! a server at the limit finds room and loses it many times a second.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::reactor::{Backoff, Direction, Source};
use crate::sys;
use crate::sys::process::descriptors;
use crate::task::Interrupted;

/// First pause; it doubles each time.
const SHORTEST: Duration = Duration::from_millis(5);
/// Longest pause.
const LONGEST: Duration = Duration::from_millis(200);
/// Time without a failure after which a failure is reported again.
const OVER: Duration = Duration::from_secs(10);

/// Calls `accept` as [`Source::retry`] does until it has a connection; pauses while there is no
/// room for one. A listener that never waits attempts once.
///
/// # Errors
///
/// Fails with other errors of `accept`, and when the caller is interrupted.
pub(super) fn accept<L: AsFd, T>(
    listener: &Source<L>,
    nonblocking: bool,
    mut accept: impl FnMut(&L) -> io::Result<T>,
) -> io::Result<T> {
    if nonblocking {
        return listener.attempt(accept);
    }
    let mut backoff = Backoff::new(SHORTEST, LONGEST, None);
    loop {
        match listener.retry(Direction::Read, None, &mut accept) {
            Err(error) if descriptors::none_left(&error) => {
                report(&error);
                backoff.wait()?;
            }
            done => return done,
        }
    }
}

/// Returns the next item of an iterator over connections; it ends once its caller is interrupted.
pub(super) fn next<S, A>(
    ended: &mut bool,
    accept: impl FnOnce() -> io::Result<(S, A)>,
) -> Option<io::Result<S>> {
    if *ended {
        return None;
    }
    let accepted = accept();
    *ended = accepted.as_ref().is_err_and(Interrupted::is_in);
    if *ended { None } else { Some(accepted.map(|(stream, _)| stream)) }
}

/// Reports `error`, unless a similar error was reported shortly before.
#[cold]
fn report(error: &io::Error) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now());
    if last.is_some_and(|last| last.elapsed() < OVER) {
        return;
    }
    sys::eprint(format_args!(
        "trine: no connection can be accepted: {error}; accepting pauses and is retried. {}\n",
        descriptors::remedy(error)
    ));
}
