//! The way of a reply from a worker to the joiner that waits for it.
//!
//! ```text
//!   ring ──► receive, receive_all ─┐                              under the dispatcher's lock
//!                                  ├─► Dispatcher::answered ──► WorkerState::answered ──► Job
//!   socket ─► connection ─► deliver┘            │ Ended
//!                                               ▼                 without it
//!                                     Dispatcher::settle ──► Job::end ──► Record ──► joiner
//! ```
//!
//! A joining thread takes replies out of the ring itself, unless another thread waits at the same
//! worker. For the other joiners the service takes them.

use std::sync::{Arc, PoisonError, TryLockError};
use std::time::Instant;

use super::deferred::Received;
use super::dispatcher::Dispatcher;
use super::link::{Replies, Rings, WorkerLink};
use crate::process::wire::Head;
use crate::process::wire::ring::{self, CELLS};
use crate::process::wire::rings::THREAD;
use crate::sys::atomic::MutexGuard;
use crate::sys::io::arrived::Arrived;
use crate::task::{Interrupted, park, wait};

/// The reason for ending a worker whose ring cannot be read.
const NONSENSE: &str = "it has written nonsense into its ring";

/// The most replies that are taken at once.
const BATCH: usize = 256;

/// Takes the replies in the worker's ring unless another thread is taking them. Returns their
/// number.
pub(in crate::process) fn receive(dispatcher: &Arc<Dispatcher>, link: &WorkerLink) -> usize {
    let Some(rings) = &link.rings else { return 0 };
    match rings.replies.try_lock() {
        Ok(replies) => take(dispatcher, link, rings, replies, (BATCH, false)),
        Err(TryLockError::Poisoned(poisoned)) => {
            take(dispatcher, link, rings, poisoned.into_inner(), (BATCH, false))
        }
        Err(TryLockError::WouldBlock) => 0,
    }
}

/// Takes all replies that are in the worker's ring now. `dead` says that no more can come.
///
/// Takes no more than the ring holds: a worker that writes on and on would keep the caller here.
/// The caller has set the notify target, so it is notified of replies that come later.
///
/// Waits for another thread that is taking them: that thread may have looked before the last reply
/// came. After setting the notify target, always take replies this way.
pub(in crate::process) fn receive_all(dispatcher: &Arc<Dispatcher>, link: &WorkerLink, dead: bool) {
    let Some(rings) = &link.rings else { return };
    let lock = || rings.replies.lock().unwrap_or_else(PoisonError::into_inner);
    let mut left = CELLS;
    while left > 0 {
        match take(dispatcher, link, rings, lock(), (left.min(BATCH), dead)) {
            0 => return,
            taken => left -= taken,
        }
    }
}

/// Takes the replies that are in the worker's ring now, unless another thread is taking them.
pub(in crate::process) fn receive_present(dispatcher: &Arc<Dispatcher>, link: &WorkerLink) {
    let mut left = CELLS;
    while left > 0 {
        match receive(dispatcher, link) {
            0 => return,
            taken => left = left.saturating_sub(taken),
        }
    }
}

/// Takes at most `most` replies.
///
/// Holds the lock of the ring until the dispatcher has them. So a thread that finds it free finds a
/// dispatcher that knows of every reply taken.
///
/// The dispatcher's lock may be taken under this one, never the reverse.
fn take(
    dispatcher: &Arc<Dispatcher>,
    link: &WorkerLink,
    rings: &Rings,
    mut replies: MutexGuard<'_, Replies>,
    (most, dead): (usize, bool),
) -> usize {
    if !replies.ring.is_ready() || rings.broken.get().is_some() {
        return 0;
    }
    let Replies { ring, bytes, ends } = &mut *replies;
    bytes.clear();
    ends.clear();
    let mut broken = None;
    while ends.len() < most {
        match ring.take(bytes) {
            Ok(true) => ends.push(bytes.len()),
            Ok(false) => break,
            Err(ring::Broken) => {
                broken = Some(NONSENSE.to_owned());
                break;
            }
        }
    }
    if !ends.is_empty() {
        crash_point!("master: answers taken, not settled");
    }
    let (mut start, mut unread) = (0, false);
    let records = ends.iter().map_while(|end| {
        let record = &bytes[std::mem::replace(&mut start, *end)..*end];
        let read = Head::of_record(record);
        unread |= read.is_none();
        read.map(|(head, body)| Received { head, body, descriptors: Arrived::default() })
    });
    let (ended, wrong) = dispatcher.answered(link, records, dead);
    if unread {
        broken = Some(NONSENSE.to_owned());
    }
    let count = ends.len();
    if let Some(reason) = broken.or(wrong) {
        rings.broken.get_or_init(|| reason);
        link.kill();
    }
    drop(replies);
    if count > 0 {
        crash_point!("master: answers settled, joiners not told");
    }
    dispatcher.settle(ended);
    count
}

/// Delivers a reply that came through the socket. `dead` says that the worker gets no more tasks.
///
/// # Errors
///
/// Describes a reply that no intact worker would send.
pub(in crate::process) fn deliver(
    dispatcher: &Arc<Dispatcher>,
    link: &WorkerLink,
    (head, body, descriptors): (Head, &[u8], Arrived),
    dead: bool,
) -> Result<(), String> {
    let reply = Received { head, body, descriptors };
    let (ended, wrong) = dispatcher.answered(link, [reply].into_iter(), dead);
    dispatcher.settle(ended);
    wrong.map_or(Ok(()), Err)
}

/// Called by a joiner that is about to wait: takes replies itself until it is `done` or that does
/// not pay any more.
pub(super) fn linger(dispatcher: &Arc<Dispatcher>, link: &WorkerLink, done: &dyn Fn() -> bool) {
    if let Some(rings) = &link.rings {
        // A worker that floods its ring must not keep the joiner: the spin looks at the clock
        // only now and then.
        let mut left = CELLS;
        rings.spin.spin(wait::pass, || {
            left = left.saturating_sub(receive(dispatcher, link));
            left == 0 || done()
        });
    }
}

/// Waits on behalf of a joiner.
///
/// The worker itself wakes a thread, if no other thread waits at it, and that thread takes the
/// replies. For the others the service takes them.
pub(super) fn park(
    dispatcher: &Arc<Dispatcher>,
    link: &WorkerLink,
    done: &dyn Fn() -> bool,
    deadline: Option<Instant>,
) -> Result<(), Interrupted> {
    let Some(rings) = link.rings.as_ref().filter(|_| park::is_plain_thread()) else {
        return wait::for_wake(deadline);
    };
    if !rings.words.listen_by_thread() {
        return wait::for_wake(deadline);
    }
    crash_point!("master: seat taken");
    receive_all(dispatcher, link, false);
    let waited =
        if done() { Ok(()) } else { wait::for_word(rings.words.notify_target(), THREAD, deadline) };
    crash_point!("master: seat not given back");
    rings.words.listen_by_service();
    receive_all(dispatcher, link, false);
    waited
}

/// Has the worker notify the service of replies from now on.
pub(in crate::process) fn listen(dispatcher: &Arc<Dispatcher>, link: &WorkerLink) {
    let Some(rings) = &link.rings else { return };
    rings.words.listen();
    receive_all(dispatcher, link, false);
}
