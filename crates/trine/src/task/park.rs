//! Parking: the small table that every primitive above goes through to wait.
//!
//! A waiter is a coroutine or an OS thread, and the code that waits does not know which. It takes
//! a [`waker`] for itself, leaves it where the event will happen, and calls [`park`] until the
//! event has happened:
//!
//! ```text
//! let waker = park::waker();
//! while !event.register(&waker) { park::park(None) }
//! ```
//!
//! A wake-up is remembered: one that comes before `park` makes the next `park` return at once. So
//! no wake-up is lost between registering and parking, and `park` may return for no reason (a stale
//! wake-up of an earlier wait): always look again.
//!
//! Wakers are [`std::task::Waker`]s, so that futures wait in the same queues. They are woken and
//! dropped by [`wake`], [`wake_by_ref`] and [`discard`], which survive a foreign waker's panic.
//!
//! Cancellation is unknown here: [`wait`](super::wait) adds it.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use corosensei::Yielder;

use super::registry;
use super::slot::Slot;
use super::thread_parker::with_parker;
use super::unwind::may_unwind;
pub(crate) use super::wakers::{discard, wake, wake_by_ref};
use crate::sys::float;

/// The reason for which a coroutine hands control back to its carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspend {
    /// The coroutine goes on after the others.
    Yield,
    /// The coroutine goes on when it is woken; its state is `PARKED`.
    Park,
}

/// The calls that a kind of waiter serves: one row of the table.
pub(crate) trait Host {
    /// Returns true if the host carries the caller. A carrier thread outside any coroutine is not
    /// carried and waits as a thread; the other calls are then not made.
    fn carries_caller(&self) -> bool;
    /// Lets the host do its work before the thread waits by itself, until `deadline`.
    fn turn(&self, deadline: Option<Instant>) -> Turn;
    /// Returns a number that is not 0, and that no other of its callers has as long as this one
    /// exists.
    fn caller_number(&self) -> usize;
    /// Returns a waker of the caller.
    fn waker(&self) -> Waker;
    /// Waits for a wake-up of the caller, or for `deadline`.
    fn park(&self, deadline: Option<Instant>);
    /// Returns true if the thread makes turns for its host before it waits by itself.
    fn has_turns(&self) -> bool;
    /// Returns the number of the next task that the caller's thread has to run itself.
    fn next_task(&self) -> u64;
    /// Ends those of them with numbers from `first` on. The caller's own task ends.
    fn end_task(&self, first: u64);
    /// Makes the caller act for `slot`'s task, also after its next waits.
    fn act_as(&self, slot: &'static Slot);
    /// Lets others of the thread run once, unless the caller must not be interrupted.
    fn give_way(&self);
    /// Returns the yielder that lets others run, if the host carries the caller and others are
    /// ready.
    fn may_pass(&self) -> Option<NonNull<Yielder<(), Suspend>>>;
}

/// The next step of a thread that has made a turn for its host.
pub(crate) enum Turn {
    /// Come back for more work, after the caller has looked for what it waits for.
    Return,
    /// Sleep until a wake-up, or until this moment.
    Sleep(Option<Instant>),
}

thread_local! {
    static HOST: Cell<Option<&'static dyn Host>> = const { Cell::new(None) };
}

/// Makes `host` serve everything that waits on the calling thread from now on.
pub(crate) fn install(host: &'static dyn Host) {
    HOST.set(Some(host));
}

/// Undoes [`install`], at the end of the thread.
pub(crate) fn uninstall() {
    HOST.set(None);
}

/// Returns a waker of the calling thread, whether or not its host carries the caller.
pub(crate) fn thread_waker() -> Waker {
    with_parker(|parker| Waker::from(Arc::clone(parker)))
}

/// Closes the descriptor that the calling thread keeps for its waits; the next one opens another.
///
/// For a process that is about to be copied, or is the copy: two processes that ring one bell would
/// take each other's wake-ups.
pub(crate) fn drop_bell() {
    with_parker(|parker| parker.drop_bell());
}

/// Returns the host that carries the caller; `None` for a plain thread.
#[inline]
fn host() -> Option<&'static dyn Host> {
    HOST.get().filter(|host| host.carries_caller())
}

/// Returns true if the caller is a coroutine, carried by a host.
pub(super) fn is_coroutine() -> bool {
    host().is_some()
}

/// Returns true if others may run on the calling thread while the caller waits.
pub(crate) fn has_neighbours() -> bool {
    HOST.get().is_some()
}

/// Returns true if the caller waits as a thread, and no coroutine would run there meanwhile.
pub(crate) fn is_plain_thread() -> bool {
    HOST.get().is_none_or(|host| !host.carries_caller() && !host.has_turns())
}

/// Calls the function of a task on a thread. Tasks that it leaves for the thread to run are ended
/// after it, also if it unwinds: the thread may not wait again.
#[inline]
pub(crate) fn with_end<T>(function: impl FnOnce() -> T) -> T {
    struct End(u64);

    impl Drop for End {
        fn drop(&mut self) {
            if let Some(host) = HOST.get() {
                host.end_task(self.0);
            }
        }
    }

    let _end = End(HOST.get().map_or(0, Host::next_task));
    function()
}

/// Makes the caller act for another task, whose function it drops, until it is called again with
/// the returned slot.
pub(super) fn act_as(slot: Option<&'static Slot>) -> Option<&'static Slot> {
    let outer = registry::current();
    registry::set_current(slot);
    if let (Some(host), Some(slot)) = (host(), slot) {
        host.act_as(slot);
    }
    outer
}

/// Returns the number of the coroutine that the caller is, which no other has on the calling thread
/// as long as this one exists; 0 for a thread or a future. Waits do not change it.
pub(crate) fn caller_number() -> usize {
    host().map_or(0, Host::caller_number)
}

/// Returns a waker for the caller.
pub(crate) fn waker() -> Waker {
    match host() {
        Some(host) => host.waker(),
        None => thread_waker(),
    }
}

/// Waits until a waker of the caller was used, or until `deadline`, even if the caller's task is
/// cancelled meanwhile. May return early.
pub(crate) fn park(deadline: Option<Instant>) {
    let sleep_until = match HOST.get() {
        Some(host) if host.carries_caller() => {
            let _aside = float::put_aside();
            return host.park(deadline);
        }
        Some(host) => {
            let aside = float::put_aside();
            let turn = host.turn(deadline);
            drop(aside);
            match turn {
                Turn::Return => return,
                Turn::Sleep(until) => until,
            }
        }
        None => deadline,
    };
    with_parker(|parker| parker.park(sleep_until));
}

/// Lets others of the calling thread run once: the other coroutines of the caller's carrier, or the
/// local coroutines of the caller, a thread. Does nothing in a future's turn.
///
/// Nor in a panic hook, where a coroutine that is suspended makes the panics of its neighbours
/// abort, nor in a destructor that an unwinding runs.
#[cold]
pub(crate) fn give_way() {
    if let Some(host) = HOST.get()
        && may_unwind()
    {
        let _aside = float::put_aside();
        host.give_way();
    }
}

/// Returns true if the caller is a future in a turn of its carrier.
pub(super) fn is_future_turn() -> bool {
    HOST.get().is_some_and(|host| !host.carries_caller() && !host.has_turns())
}

/// Lets the other coroutines of the caller's carrier run once, if any are ready: the event that the
/// caller is about to wait for may have come then.
///
/// Returns false if none are ready, or the caller is a thread.
///
/// Inlined down to the switch: the processor mispredicts a return that crosses a switch.
#[inline(always)]
pub(crate) fn pass() -> bool {
    match HOST.get().and_then(Host::may_pass) {
        Some(yielder) => {
            let _aside = float::put_aside();
            // SAFETY: the host carries the caller, whose own yielder this is.
            unsafe { yielder.as_ref() }.suspend(Suspend::Yield);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_wake_up_before_the_wait_is_remembered_once() {
        waker().wake();
        park(None);
        let deadline = Instant::now() + Duration::from_millis(1);
        park(Some(deadline));
        assert!(Instant::now() >= deadline);
    }

    #[test]
    fn a_thread_is_woken_by_another() {
        for _ in 0..1000 {
            let waker = waker();
            let other = std::thread::spawn(move || waker.wake());
            park(None);
            other.join().unwrap();
        }
    }
}
