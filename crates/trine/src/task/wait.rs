//! Waits that cancellation and deadlines end: the one place where they meet the parking table.
//!
//! Both are levels of the task, kept in its [`Slot`]. A wait looks at them before it parks and
//! after:
//!
//! ```text
//!   cancel ──► CANCELLED in the state word, then a wake-up ──┐
//!   timeout ─► deadline: the earliest of those around ───────┼─► Err(Interrupted), or `or_unwind`
//!   shield ──► holds both off, until it ends or its bound ───┘   unwinds the task
//! ```
//!
//! No wake-up is lost: the request comes before the wake-up, which is remembered, and the wait
//! looks again after every wake-up.

use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use super::interrupt::{Interrupt, Interrupted};
use super::park;
use super::registry::with_own_slot;
use super::slot::Slot;
use super::thread_parker::with_parker;
use super::unwind;
use crate::sys::io::poll::Interest;

/// Waits as [`park::park`] does, unless the caller's task is cancelled or a deadline around it has
/// passed. May return early.
///
/// After an error the caller takes its waker out of the queue that it waits in. If it finds that it
/// was given what it waited for meanwhile, it takes that and goes on, or passes it on: nothing is
/// lost.
///
/// # Errors
///
/// Before the wait or after it, as long as the cause lasts.
pub(crate) fn for_wake(deadline: Option<Instant>) -> Result<(), Interrupted> {
    wait_by(deadline, park::park)
}

/// Waits as [`for_wake`] does, for waits that cannot fail: unwinds the caller's task, without a
/// panic message.
///
/// During an unwinding it waits as [`park::park`] does. So a caller takes its waker out of its
/// queue in a destructor.
pub(crate) fn or_unwind(deadline: Option<Instant>) {
    or_unwind_unless(deadline, || false);
}

/// Waits as [`or_unwind`] does. An interruption is left to the next wait if `is_over` returns true:
/// what the caller waits for has happened, and is not to be lost.
pub(crate) fn or_unwind_unless(deadline: Option<Instant>, is_over: impl Fn() -> bool) {
    let waited = with_own_slot(|slot| {
        leave_waker(slot);
        match check(slot) {
            Ok(until) => {
                park::park(earlier(deadline, until));
                check(slot).map(drop)
            }
            Err(interrupted) if unwind::may_unwind() => Err(interrupted),
            Err(_) => {
                park::park(deadline);
                Ok(())
            }
        }
    });
    match waited {
        // During an unwinding the caller looks for what it waits for, and comes back.
        Err(interrupted) if unwind::may_unwind() && !is_over() => unwind::unwind(interrupted),
        _ => {}
    }
}

/// Lets others run once as [`park::pass`] does, unless a deadline around the caller has passed: its
/// waits do not begin then, and neither does this one.
#[inline(always)]
pub(crate) fn pass() -> bool {
    let is_late = |slot: &Slot| slot.deadline().is_some_and(|end| end <= Instant::now());
    !with_own_slot(is_late) && park::pass()
}

/// Waits until `moment`, whatever wakes the caller before.
///
/// # Errors
///
/// See [`for_wake`].
pub(crate) fn until(moment: Instant) -> Result<(), Interrupted> {
    while Instant::now() < moment {
        for_wake(Some(moment))?;
    }
    Ok(())
}

/// Waits as [`for_wake`] does, for a descriptor too. The caller is a thread
/// ([`park::is_plain_thread`]). May return early.
///
/// # Errors
///
/// See [`for_wake`].
pub(crate) fn for_descriptor(
    descriptor: BorrowedFd<'_>,
    interest: Interest,
    deadline: Option<Instant>,
) -> Result<(), Interrupted> {
    wait_by(deadline, |until| {
        with_parker(|parker| parker.poll(descriptor, interest, until));
    })
}

/// Waits as [`for_wake`] does, and only as long as `word`, in memory that other processes see,
/// holds `expected`. The caller is a thread ([`park::is_plain_thread`]). May return early.
///
/// A process that changes the word wakes by [`wake_shared`](crate::sys::futex::wake_shared).
///
/// # Errors
///
/// See [`for_wake`].
pub(crate) fn for_word(
    word: &AtomicU32,
    expected: u32,
    deadline: Option<Instant>,
) -> Result<(), Interrupted> {
    wait_by(deadline, |until| {
        with_parker(|parker| parker.park_beside(word, expected, until));
    })
}

/// Waits by `park`, whose argument is the time until which it may last.
#[inline]
fn wait_by(deadline: Option<Instant>, park: impl Fn(Option<Instant>)) -> Result<(), Interrupted> {
    with_own_slot(|slot| wait_of(slot, deadline, park))
}

fn wait_of(
    slot: &Slot,
    deadline: Option<Instant>,
    park: impl Fn(Option<Instant>),
) -> Result<(), Interrupted> {
    leave_waker(slot);
    let until = check(slot)?;
    park(earlier(deadline, until));
    check(slot).map(drop)
}

/// Leaves the thread's waker in the caller's task, so that a request to cancel can wake the thread.
fn leave_waker(slot: &Slot) {
    // A coroutine is woken by its handle, and a thread without a task cannot be cancelled.
    if !park::is_coroutine() && slot.id().is_some() {
        slot.leave_waker(park::thread_waker);
    }
}

/// Returns the time until which a wait of the slot's task may last.
///
/// # Errors
///
/// The task is cancelled or its time is up, so a wait must not begin or go on.
#[inline]
pub(super) fn check(slot: &Slot) -> Result<Option<Instant>, Interrupted> {
    let deadline = slot.deadline();
    if deadline.is_none() && !slot.is_cancelled() && !slot.has_scopes() {
        return Ok(None);
    }
    check_slow(slot, deadline)
}

#[cold]
fn check_slow(slot: &Slot, deadline: Option<Instant>) -> Result<Option<Instant>, Interrupted> {
    let now = Instant::now();
    let mut until = deadline;
    let shield = slot.shield().filter(|shield| now < *shield);
    if slot.is_cancelled() {
        match shield {
            Some(shield) => until = earlier(deadline, Some(shield)),
            None => return Err(Interrupted(Interrupt::Cancelled(slot.reason()))),
        }
    }
    if slot.has_scopes() {
        if slot.is_scope_ended(shield.is_some()) {
            let reason = "another task of its scope has failed".into();
            return Err(Interrupted(Interrupt::Cancelled(Some(reason))));
        }
        until = earlier(until, shield);
    }
    if deadline.is_some_and(|deadline| deadline <= now) {
        return Err(Interrupted(Interrupt::TimedOut));
    }
    Ok(until)
}

/// Returns true if a wait of the caller ends in any case, by what is in force around it: a deadline
/// ([`timeout`](crate::time::timeout), the limit of a task) or a cancellation.
///
/// A wait for oneself is a panic where this is false, and a wait like any other where it is true. A
/// caller that unwinds is not interrupted, so its waits do not end.
#[cold]
pub(crate) fn has_limit() -> bool {
    let has_limit = |slot: &Slot| {
        slot.deadline().is_some()
            || slot.is_cancelled()
            || slot.has_scopes() && slot.is_scope_ended(false)
    };
    unwind::may_unwind() && with_own_slot(has_limit)
}

/// Returns the earlier of two moments, where `None` is never.
pub(super) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::futex;
    use std::sync::atomic::Ordering::{Acquire, Release};
    use std::time::Duration;

    #[test]
    fn a_thread_that_waits_for_a_shared_word_is_woken_by_it_by_its_waker_and_by_time() {
        static WORD: AtomicU32 = AtomicU32::new(0);
        let own = park::waker();
        let other = std::thread::spawn(move || {
            WORD.store(1, Release);
            futex::wake_shared(&WORD).unwrap();
            while WORD.load(Acquire) != 2 {
                std::thread::yield_now();
            }
            own.wake();
        });
        while WORD.load(Acquire) == 0 {
            for_word(&WORD, 0, None).unwrap();
        }
        WORD.store(2, Release);
        // The word does not change any more.
        for_word(&WORD, 2, None).unwrap();
        other.join().unwrap();
        let deadline = Instant::now() + Duration::from_millis(1);
        while Instant::now() < deadline {
            for_word(&WORD, 2, Some(deadline)).unwrap();
        }
    }
}
