//! Accepting connections when the process has no descriptor or the kernel no memory left.
//!
//! The connection stays in the listener's queue, and the listener stays ready. A loop that retried
//! at once would keep a core busy until a descriptor is closed. So `accept` pauses, longer each
//! time, and then goes on by itself. It reports this once, and again only after a while without it:
//! a server at the limit finds room and loses it many times a second.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::reactor::{Direction, Source};
use crate::sys::process::descriptors;
use crate::task::wait;

/// First pause; each further one is twice as long.
const SHORTEST: Duration = Duration::from_millis(5);
/// Longest pause.
const LONGEST: Duration = Duration::from_millis(200);
/// Time without a failure after which the next one is reported again.
const OVER: Duration = Duration::from_secs(10);

/// Calls `accept` as [`Source::retry`] does until it has a connection; pauses while there is no
/// room for one.
///
/// # Errors
///
/// Fails with other errors of `accept`, and when the caller is interrupted.
pub(super) fn accept<L: AsFd, T>(
    listener: &Source<L>,
    mut accept: impl FnMut(&L) -> io::Result<T>,
) -> io::Result<T> {
    let mut pause = SHORTEST;
    loop {
        match listener.retry(Direction::Read, None, &mut accept) {
            Err(error) if descriptors::none_left(&error) => {
                note(&error);
                wait::until(Instant::now() + pause)?;
                pause = LONGEST.min(2 * pause);
            }
            done => return done,
        }
    }
}

/// Reports `error`, unless a similar one was reported shortly before.
#[cold]
fn note(error: &io::Error) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now());
    if last.is_some_and(|last| last.elapsed() < OVER) {
        return;
    }
    // `eprintln!` would panic where standard error is not writable.
    let _ = writeln!(
        io::stderr(),
        "trine: no connection can be accepted: {error}; accepting pauses and goes on when one can. {}",
        descriptors::remedy(error)
    );
}
