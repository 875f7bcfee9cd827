//! Cancellation, deadlines and shields of the caller; `scope.rs` has the part of a task whose
//! waits other tasks can end.
//!
//! All are levels of the task, kept in its [`Slot`]; [`wait`] looks at them. A
//! plain thread that runs no task has a slot of its own, for its deadlines.

pub(crate) mod scope;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use self::scope::CancelScope;
use super::interrupt::Interrupted;
use super::registry::with_own_slot;
use super::slot::Slot;
use super::unwind::interruption;
use super::wait;

/// Returns true if the caller should end: its task was cancelled, or the time of a
/// [`timeout`](crate::time::timeout) around it is up, and no [`shield`] holds that off.
///
/// Waits check for this by themselves. Code that computes for long calls this from time to time.
///
/// ```
/// use trine::thread;
///
/// let task = thread::spawn(|| {
///     while !trine::cancelled() {
///         std::hint::spin_loop();
///     }
///     "it has ended by itself"
/// });
/// while task.state() == trine::State::New {
///     std::thread::yield_now();
/// }
/// task.cancel();
/// assert_eq!(task.join()?, "it has ended by itself");
/// # Ok::<(), trine::TaskError>(())
/// ```
pub fn cancelled() -> bool {
    checkpoint().is_err()
}

/// Returns an error if the caller should end; see [`cancelled`].
///
/// ```
/// use std::time::Duration;
/// use trine::{Interrupted, time};
///
/// fn sum(numbers: &[u64]) -> Result<u64, Interrupted> {
///     let parts = numbers.chunks(1024);
///     parts.map(|part| trine::checkpoint().map(|()| part.iter().sum::<u64>())).sum()
/// }
/// assert_eq!(sum(&[1, 2, 3])?, 6);
/// let late = time::timeout(Duration::ZERO, || sum(&[1, 2, 3])).unwrap();
/// assert!(late.unwrap_err().is_timeout());
/// # Ok::<(), Interrupted>(())
/// ```
///
/// # Errors
///
/// [`Interrupted`], which knows whether the caller was cancelled, and for which reason, or its time
/// is up.
pub fn checkpoint() -> Result<(), Interrupted> {
    with_own_slot(|slot| wait::check(slot).map(drop))
}

/// Runs `f` and holds off cancellation, and deadlines from outside `f`, for at most `max`.
///
/// It is meant for the few steps that must not be left half done. Waits inside `f` go on when the
/// task is cancelled meanwhile; after `max` they are interrupted as everywhere. Deadlines set
/// inside `f` hold. Inside another shield, the later end counts.
///
/// ```
/// use std::time::Duration;
/// use trine::{coroutine, time};
///
/// let task = coroutine::spawn(|| {
///     trine::shield(Duration::from_secs(5), || time::sleep(Duration::from_millis(5)));
///     "it was not left half done"
/// });
/// while task.state() == trine::State::New {
///     std::thread::yield_now();
/// }
/// task.cancel();
/// assert_eq!(task.join()?, "it was not left half done");
/// # Ok::<(), trine::TaskError>(())
/// ```
pub fn shield<T>(max: Duration, f: impl FnOnce() -> T) -> T {
    struct Restore {
        shield: Option<Instant>,
        shielded: usize,
        deadline: Option<Instant>,
    }
    impl Drop for Restore {
        fn drop(&mut self) {
            with_own_slot(|slot| {
                slot.set_shield(self.shield, self.shielded);
                slot.exchange_deadline(self.deadline);
                slot.leave_guard();
            });
        }
    }
    let now = Instant::now();
    // Beyond the clock's range, a thousand years serve as well.
    let until = now.checked_add(max).unwrap_or(now + Duration::from_secs(1 << 35));
    let _restore = with_own_slot(|slot| {
        let (shield, deadline) = (slot.shield(), slot.deadline());
        let (scopes, shielded) = slot.scopes();
        let until = shield.map_or(until, |outer| outer.max(until));
        slot.enter_guard();
        slot.set_shield(Some(until), scopes);
        slot.exchange_deadline(deadline.map(|deadline| deadline.max(until)));
        Restore { shield, shielded, deadline }
    });
    f()
}

/// Runs `f`, whose waits end at `deadline`. Returns `None` if such a wait has ended `f`.
pub(crate) fn within<T>(deadline: Instant, f: impl FnOnce() -> T) -> Option<T> {
    struct Restore(Option<Instant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            with_own_slot(|slot| {
                slot.exchange_deadline(self.0);
                slot.leave_guard();
            });
        }
    }
    let restore = with_own_slot(|slot| {
        let outer = slot.deadline();
        slot.enter_guard();
        slot.exchange_deadline(wait::earlier(outer, Some(deadline)));
        Restore(outer)
    });
    // Data that `f` shares is checked by its owners. Only our own interruption ends here.
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    drop(restore);
    match result {
        Ok(value) => Some(value),
        Err(payload) => {
            let timed_out = interruption(&*payload).is_some_and(Interrupted::is_timeout);
            if timed_out && deadline <= Instant::now() {
                return None;
            }
            panic::resume_unwind(payload)
        }
    }
}

/// Runs `f` as if no deadline were around it: the tasks that it spawns inherit none.
pub(crate) fn without_deadline<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(Option<Instant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            with_own_slot(|slot| slot.exchange_deadline(self.0));
        }
    }
    let _restore = with_own_slot(|slot| Restore(slot.exchange_deadline(None)));
    f()
}

/// Returns the number of calls of `timeout` and `shield` that the caller is in.
#[inline]
pub(crate) fn guards() -> u32 {
    with_own_slot(Slot::guards)
}

/// Returns the moment at which the caller's waits end.
pub(crate) fn deadline() -> Option<Instant> {
    with_own_slot(Slot::deadline)
}

/// Gives the caller, a task that begins, the deadline of its parent.
pub(crate) fn inherit(deadline: Option<Instant>) {
    if deadline.is_some() {
        with_own_slot(|slot| slot.exchange_deadline(deadline));
    }
}

/// Runs `f` inside `scope`: its waits end as soon as another task calls [`CancelScope::end`].
pub(crate) fn run_in<T>(scope: &Arc<CancelScope>, f: impl FnOnce() -> T) -> thread::Result<T> {
    with_own_slot(|slot| slot.enter_scope(Arc::clone(scope)));
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    // Also for a task that has entered the scope and does not leave it.
    scope.leave();
    with_own_slot(|slot| slot.leave_scope(scope));
    result
}
