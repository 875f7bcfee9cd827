//! What accepting does when the process has no descriptor or the kernel no memory left.
//!
//! The connection stays in the listener's queue, and the listener stays ready: a loop that tried again at
//! once would keep a core busy until somebody closes something. So it pauses, longer each time, and
//! goes on by itself. That is reported once, until it has not happened for a while: at the limit a
//! server finds room and loses it again many times a second.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::reactor::{Direction, Source};
use crate::sys::process::descriptors;
use crate::task::wait;

/// The first pause; each further one is twice as long.
const SHORTEST: Duration = Duration::from_millis(5);
/// The longest pause.
const LONGEST: Duration = Duration::from_millis(200);
/// After this time without a failure, the next one is reported again.
const OVER: Duration = Duration::from_secs(10);

/// Calls `accept` until it has a connection, as [`Source::retry`]; pauses while there is no room for one.
///
/// # Errors
///
/// What else `accept` says; what ends a wait from outside.
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

/// Reports `error`, unless the last one like it was a moment ago.
#[cold]
fn note(error: &io::Error) {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now());
    if last.is_some_and(|last| last.elapsed() < OVER) {
        return;
    }
    // Not `eprintln!`, which panics where standard error cannot be written.
    let _ = writeln!(
        io::stderr(),
        "trine: no connection can be accepted: {error}; accepting pauses and goes on when one can. {}",
        descriptors::remedy(error)
    );
}
