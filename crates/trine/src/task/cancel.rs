//! What ends a wait from outside: cancellation, deadlines, and the shield that holds them off.
//!
//! Both are levels of the task, kept in its [`Slot`]; a plain thread that runs no task has a slot of
//! its own here, for its deadlines. A wait looks at them before it parks and after:
//!
//! ```text
//!   cancel ──► CANCELLED in the state word, then a wake-up ──┐
//!   timeout ─► deadline: the earliest of those around ───────┼─► wait: Err(Interrupted)
//!   shield ──► holds both off, until it ends or its bound ───┘   wait that cannot fail: Unwind
//! ```
//!
//! No wake-up is lost: the request comes before the wake-up, which is remembered, and the wait
//! looks again after every wake-up.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use super::interrupt::Interrupt;
use super::registry;
use super::slot::{Slot, UNWINDING, Unwinding};
use super::{Interrupted, park};

thread_local! {
    /// Stands for a thread that runs no task.
    static PLAIN: Slot = const { Slot::new() };
    /// How many coroutines of this thread wait in a destructor that an unwinding runs.
    static SUSPENDED: Cell<usize> = const { Cell::new(0) };
}

/// Calls `f` with the slot that says how the caller's waits end; `None` on a thread that is ending.
fn with_own<R>(f: impl FnOnce(&Slot) -> R) -> Option<R> {
    match registry::current() {
        Some(slot) => Some(f(slot)),
        None => PLAIN.try_with(f).ok(),
    }
}

/// Until when a wait of the slot's owner may last.
///
/// # Errors
///
/// It may not begin, or not go on.
#[inline]
fn check(slot: &Slot) -> Result<Option<Instant>, Interrupted> {
    let deadline = slot.deadline();
    if deadline.is_none() && !slot.is_cancelled() && !slot.has_regions() {
        return Ok(None);
    }
    weigh(slot, deadline)
}

#[cold]
fn weigh(slot: &Slot, deadline: Option<Instant>) -> Result<Option<Instant>, Interrupted> {
    let now = Instant::now();
    let mut until = deadline;
    let shield = slot.shield().filter(|shield| now < *shield);
    if slot.is_cancelled() {
        match shield {
            Some(shield) => until = earlier(deadline, Some(shield)),
            None => return Err(Interrupted(Interrupt::Cancelled(slot.reason()))),
        }
    }
    if slot.has_regions() {
        if slot.is_region_ended(shield.is_some()) {
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

fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// What [`park::wait`] does.
#[inline]
pub(super) fn wait(deadline: Option<Instant>) -> Result<(), Interrupted> {
    wait_by(deadline, park::park)
}

/// Waits by `park`, which gets the time until when it may last.
#[inline]
pub(super) fn wait_by(
    deadline: Option<Instant>,
    park: impl Fn(Option<Instant>),
) -> Result<(), Interrupted> {
    let waited = with_own(|slot| wait_of(slot, deadline, &park));
    waited.unwrap_or_else(|| {
        park(deadline);
        Ok(())
    })
}

fn wait_of(
    slot: &Slot,
    deadline: Option<Instant>,
    park: impl Fn(Option<Instant>),
) -> Result<(), Interrupted> {
    park::leave_waker(slot);
    let until = check(slot)?;
    park(earlier(deadline, until));
    check(slot).map(drop)
}

/// What [`park::wait_or_unwind`] does.
pub(super) fn wait_or_unwind(deadline: Option<Instant>) {
    let waited = with_own(|slot| {
        if may_unwind(slot) {
            return wait_of(slot, deadline, park::park);
        }
        let doubt = is_in_doubt().then(|| Instant::now() + DOUBT);
        park::park(earlier(deadline, doubt));
        Ok(())
    });
    match waited {
        Some(Ok(())) => {}
        Some(Err(interrupted)) => unwind(interrupted),
        None => park::park(deadline),
    }
}

/// What travels up the stack of a task that is interrupted in a wait which cannot fail.
struct Unwind {
    interrupted: Interrupted,
    begun: Unwinding,
}

impl Drop for Unwind {
    /// Whoever drops it has caught it; maybe long ago, or on another thread.
    fn drop(&mut self) {
        with_own(|slot| slot.end_unwinding(self.begun));
    }
}

#[cold]
fn unwind(interrupted: Interrupted) -> ! {
    let begun = with_own(Slot::begin_unwinding).unwrap_or_default();
    // Not `panic!`: nothing went wrong, and no hook is to say so.
    panic::resume_unwind(Box::new(Unwind { interrupted, begun }))
}

/// Whether the payload of an unwinding is an interruption, and which.
pub(crate) fn interruption(payload: &(dyn Any + Send)) -> Option<&Interrupted> {
    payload.downcast_ref::<Unwind>().map(|unwind| &unwind.interrupted)
}

/// Not where a panic aborts, and not during an unwinding: a second one there aborts.
fn may_unwind(slot: &Slot) -> bool {
    cfg!(panic = "unwind") && !is_unwinding(slot)
}

/// Whether a destructor of the caller runs because of an unwinding.
///
/// std counts panics by thread. While a coroutine waits in such a destructor, the others of its
/// thread see its count; of those, only the ones that are known to have begun one count as
/// unwinding. One that has caught a panic since is wrongly among them, for as long as that lasts.
fn is_unwinding(slot: &Slot) -> bool {
    let panicking = thread::panicking();
    if !panicking && slot.has_own(UNWINDING) {
        slot.set_own(UNWINDING, false);
    }
    panicking && (SUSPENDED.get() == 0 || slot.has_own(UNWINDING))
}

/// Whether [`is_unwinding`] may have been deceived by a neighbour's panic, or by one that is not known
/// to have begun: then the caller looks again and again, or it would sleep over its cancellation.
fn is_in_doubt() -> bool {
    cfg!(panic = "unwind") && park::has_neighbours()
}

/// How long a coroutine waits between two looks whether it unwinds, where that is in doubt.
const DOUBT: Duration = Duration::from_millis(10);

/// Notes for as long as it lives that the caller, a coroutine, waits while it unwinds.
pub(super) struct Suspension(bool);

#[inline]
pub(super) fn begin_suspension() -> Suspension {
    let unwinding = thread::panicking() && with_own(is_unwinding) == Some(true);
    if unwinding {
        SUSPENDED.set(SUSPENDED.get() + 1);
    }
    Suspension(unwinding)
}

impl Drop for Suspension {
    #[inline]
    fn drop(&mut self) {
        if self.0 {
            SUSPENDED.set(SUSPENDED.get() - 1);
        }
    }
}

/// A panic begins to unwind the caller.
pub(super) fn note_panic() {
    with_own(Slot::begin_unwinding);
}

/// The caller is about to act for the task of `slot`, and unwinds in its name if it does so at all.
pub(super) fn share_unwinding(slot: &Slot) {
    if with_own(|own| own.has_own(UNWINDING)) == Some(true) {
        slot.begin_unwinding();
    }
}

/// Calls `f`, which unwinds something and comes back.
pub(crate) fn while_unwinding(f: impl FnOnce()) {
    let within_another = with_own(|slot| slot.has_own(UNWINDING)) == Some(true);
    let begun = with_own(Slot::begin_unwinding).unwrap_or_default();
    f();
    if !within_another {
        with_own(|slot| slot.end_unwinding(begun));
    }
}

/// Whether the caller should end: its task was cancelled, or the time of a
/// [`timeout`](crate::time::timeout) around it is up, and no [`shield`] holds that off.
///
/// Waits look by themselves; code that computes for long asks here from time to time.
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

/// As [`cancelled`], for code that hands errors on.
///
/// # Errors
///
/// [`Interrupted`] says whether the caller was cancelled, and why, or its time is up.
pub fn checkpoint() -> Result<(), Interrupted> {
    with_own(|slot| check(slot).map(drop)).unwrap_or(Ok(()))
}

/// Runs `f` and holds cancellation, and deadlines from outside `f`, off for at most `max`: for the
/// few steps that must not be left half done.
///
/// Waits inside `f` go on when the task is cancelled meanwhile; after `max` they are interrupted as
/// everywhere. Deadlines set inside `f` hold. Inside another shield, the later end holds.
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
            with_own(|slot| {
                slot.set_shield(self.shield, self.shielded);
                slot.exchange_deadline(self.deadline);
                slot.leave_guard();
            });
        }
    }
    let now = Instant::now();
    // Longer than the clock can count is as good as a thousand years.
    let until = now.checked_add(max).unwrap_or(now + Duration::from_secs(1 << 35));
    let _restore = with_own(|slot| {
        let (shield, deadline) = (slot.shield(), slot.deadline());
        let (regions, shielded) = slot.regions();
        let until = shield.map_or(until, |outer| outer.max(until));
        slot.enter_guard();
        slot.set_shield(Some(until), regions);
        slot.exchange_deadline(deadline.map(|deadline| deadline.max(until)));
        Restore { shield, shielded, deadline }
    });
    f()
}

/// Runs `f`, whose waits end at `deadline`; `None` if one of them has ended it so.
pub(crate) fn within<T>(deadline: Instant, f: impl FnOnce() -> T) -> Option<T> {
    struct Restore(Option<Instant>);
    impl Drop for Restore {
        fn drop(&mut self) {
            with_own(|slot| {
                slot.exchange_deadline(self.0);
                slot.leave_guard();
            });
        }
    }
    let restore = with_own(|slot| {
        let outer = slot.deadline();
        slot.enter_guard();
        slot.exchange_deadline(earlier(outer, Some(deadline)));
        Restore(outer)
    });
    // What `f` shares with others is theirs to check; anything but our own interruption goes on.
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

/// How many calls of `timeout` and `shield` the caller is in.
#[inline]
pub(crate) fn guards() -> u32 {
    with_own(Slot::guards).unwrap_or(0)
}

/// When the caller's waits end.
pub(crate) fn deadline() -> Option<Instant> {
    with_own(Slot::deadline).flatten()
}

/// Gives the caller, a task that begins, the deadline of its parent.
pub(crate) fn inherit(deadline: Option<Instant>) {
    if deadline.is_some() {
        with_own(|slot| slot.exchange_deadline(deadline));
    }
}

/// In a region: its function runs, or is about to.
const ENTERED: u8 = 0;
/// The waits of its function end.
const ENDED: u8 = 1;
/// Its function has ended.
const LEFT: u8 = 2;

/// A part of a task whose waits others can end: what the body of a scope is to its children.
#[derive(Debug)]
pub(crate) struct Region {
    /// `ENTERED`, `ENDED` or `LEFT`.
    state: AtomicU8,
    /// Wakes the task.
    waker: Waker,
}

impl Region {
    /// A region that only the caller will enter.
    pub(crate) fn new() -> Arc<Region> {
        Arc::new(Region { state: AtomicU8::new(ENTERED), waker: park::waker() })
    }

    /// Runs `f` inside; its waits end as soon as somebody calls `end`.
    pub(crate) fn run<T>(self: &Arc<Region>, f: impl FnOnce() -> T) -> thread::Result<T> {
        with_own(|slot| slot.enter_region(Arc::clone(self)));
        let result = panic::catch_unwind(AssertUnwindSafe(f));
        // For a task that it was entered in and not left, too.
        self.state.store(LEFT, Relaxed);
        with_own(|slot| slot.leave_region(self));
        result
    }

    /// Ends the waits inside.
    pub(crate) fn end(&self) {
        if self.state.compare_exchange(ENTERED, ENDED, Release, Relaxed).is_ok() {
            self.waker.wake_by_ref();
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state.load(Acquire) == ENDED
    }
}
