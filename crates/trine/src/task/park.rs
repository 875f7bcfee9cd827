//! Waiting, whoever waits: the small table that every primitive above goes through.
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
//! Wakers are [`std::task::Waker`]s, so that futures wait in the same queues.

use std::cell::{Cell, OnceCell};
use std::mem::{self, ManuallyDrop};
use std::os::fd::BorrowedFd;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use corosensei::Yielder;

use super::registry::Slot;
use super::{Interrupted, cancel, registry};
use crate::sys::futex;
use crate::sys::io::poll::{self, Bell, Interest};

/// Why a coroutine handed control back to its carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspend {
    /// It goes on after the others.
    Yield,
    /// It goes on when it is woken; its state is `PARKED`.
    Park,
}

/// What a kind of waiter brings along: one row of the table.
pub(crate) trait Host {
    /// Whether the host carries the caller. A carrier thread outside any coroutine is not carried
    /// and waits as a thread; the other calls are then not made.
    fn carries_caller(&self) -> bool;
    /// The thread is about to wait by itself, until `deadline`: lets it do what it does at such times.
    fn turn(&self, deadline: Option<Instant>) -> Turn;
    /// A waker of the caller.
    fn waker(&self) -> Waker;
    /// Waits for a wake-up of the caller, or for `deadline`.
    fn park(&self, deadline: Option<Instant>);
    /// Whether the thread makes turns for its host before it waits by itself.
    fn has_turns(&self) -> bool;
    /// The caller is `slot`'s task also after its next waits.
    fn act_as(&self, slot: &'static Slot);
    /// What the caller lets others run with, if the host carries it and others are ready.
    fn may_pass(&self) -> Option<NonNull<Yielder<(), Suspend>>>;
}

/// What a thread does next that has made a turn for its host.
pub(crate) enum Turn {
    /// There is more to do: come back, after the caller has looked for what it waits for.
    Return,
    /// Sleep until it is woken, or until then.
    Sleep(Option<Instant>),
}

thread_local! {
    static HOST: Cell<Option<&'static dyn Host>> = const { Cell::new(None) };
    static THREAD: OnceCell<OwnParker> = const { OnceCell::new() };
    /// Stands in for `THREAD` once that is destroyed, for waits in the destructors of other
    /// thread-locals. Needs no destructor, so it is there to the end; such a thread leaks one parker.
    static LATE: OnceCell<ManuallyDrop<Arc<ThreadParker>>> = const { OnceCell::new() };
}

/// Calls `f` with the parker of the calling thread.
fn with_parker<R>(f: impl Fn(&Arc<ThreadParker>) -> R) -> R {
    THREAD
        .try_with(|parker| f(&parker.get_or_init(OwnParker::default).0))
        .unwrap_or_else(|_| LATE.with(|parker| f(parker.get_or_init(Default::default))))
}

/// Uses a waker that may be anybody's, for a caller who has to go on: another executor's may panic. The hook
/// has reported it.
pub(crate) fn wake(waker: Waker) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        mem::forget(payload);
    }
}

/// The parker of a thread, for the thread itself. Wakers may keep it for ever, but not its descriptor.
#[derive(Default)]
struct OwnParker(Arc<ThreadParker>);

impl Drop for OwnParker {
    fn drop(&mut self) {
        let bell = self.0.bell().take();
        drop(bell);
    }
}

/// Makes `host` answer for everything that waits on the calling thread from now on.
pub(crate) fn install(host: &'static dyn Host) {
    HOST.set(Some(host));
}

/// Undoes [`install`], at the end of the thread.
pub(crate) fn uninstall() {
    HOST.set(None);
}

/// A waker of the calling thread, whether or not its host carries the caller.
pub(crate) fn thread_waker() -> Waker {
    with_parker(|parker| Waker::from(Arc::clone(parker)))
}

/// Gives up what the calling thread shares with the process that it was forked from: its bell, whose
/// ringing one of both would take from the other.
pub(crate) fn begin_anew() {
    with_parker(|parker| drop(parker.bell().take()));
}

/// Returns true if the caller runs in a coroutine.
#[inline]
pub(super) fn is_coroutine() -> bool {
    host().is_some()
}

/// The host that carries the caller; `None` for a plain thread.
#[inline]
fn host() -> Option<&'static dyn Host> {
    HOST.get().filter(|host| host.carries_caller())
}

/// Whether others may run on the calling thread while the caller waits.
pub(crate) fn has_neighbours() -> bool {
    HOST.get().is_some()
}

/// Closes the descriptor that the calling thread keeps for its waits; the next one opens another. For a
/// process that is about to be copied: two that ring one bell would wake each other.
pub(crate) fn drop_bell() {
    let bell = with_parker(|parker| parker.bell().take());
    drop(bell);
}

/// Makes the caller act for another task, whose function it drops, until it is called again with what
/// this returns.
pub(super) fn act_as(slot: Option<&'static Slot>) -> Option<&'static Slot> {
    let outer = registry::current();
    registry::set_current(slot);
    if let (Some(host), Some(slot)) = (host(), slot) {
        host.act_as(slot);
    }
    outer
}

/// A waker for the caller.
pub(crate) fn waker() -> Waker {
    match host() {
        Some(host) => host.waker(),
        None => thread_waker(),
    }
}

/// Waits until a waker of the caller was used, or until `deadline`, whatever becomes of the caller's
/// task meanwhile. May return early.
pub(crate) fn park(deadline: Option<Instant>) {
    let sleep_until = match HOST.get() {
        Some(host) if host.carries_caller() => {
            let _suspension = cancel::begin_suspension();
            return host.park(deadline);
        }
        Some(host) => {
            // Those that the turn runs see the thread's own count of panics.
            let _suspension = cancel::begin_suspension();
            match host.turn(deadline) {
                Turn::Return => return,
                Turn::Sleep(until) => until,
            }
        }
        None => deadline,
    };
    with_parker(|parker| parker.park(sleep_until));
}

/// A coroutine lets the others of its carrier run once, if there are any that are ready: what it is
/// about to wait for may have come then. `false`: there are none, or the caller is a thread.
///
/// Inlined down to the switch: a return that crosses a switch is one that the processor predicts
/// wrongly.
#[inline(always)]
pub(crate) fn pass() -> bool {
    match HOST.get().and_then(Host::may_pass) {
        Some(yielder) => {
            // SAFETY: the host carries the caller, whose own yielder this is.
            unsafe { yielder.as_ref() }.suspend(Suspend::Yield);
            true
        }
        None => false,
    }
}

/// As [`park`], unless the caller's task is cancelled or a deadline around it has passed: what a wait
/// that can fail is made of.
///
/// The caller then takes its waker out of the queue that it waits in. If it finds that it was given
/// what it waited for meanwhile, it takes that and goes on, or passes it on: nothing is lost.
///
/// # Errors
///
/// Before the wait or after it, as long as the cause lasts.
pub(crate) fn wait(deadline: Option<Instant>) -> Result<(), Interrupted> {
    cancel::wait(deadline)
}

/// Whether the caller waits as a thread, with nobody beside it who would run meanwhile.
pub(crate) fn is_plain_thread() -> bool {
    HOST.get().is_none_or(|host| !host.carries_caller() && !host.has_turns())
}

/// As [`wait`], for a thread ([`is_plain_thread`]) that also waits for a descriptor. May return early.
///
/// # Errors
///
/// As [`wait`].
pub(crate) fn wait_for(
    descriptor: BorrowedFd<'_>,
    interest: Interest,
    deadline: Option<Instant>,
) -> Result<(), Interrupted> {
    cancel::wait_by(deadline, |until| {
        with_parker(|parker| parker.poll(descriptor, interest, until));
    })
}

/// As [`wait`], for a thread ([`is_plain_thread`]) that also waits for a word in memory which other processes
/// see, as long as that holds `expected`. May return early.
///
/// Whoever changes the word wakes by [`wake_shared`](futex::wake_shared).
///
/// # Errors
///
/// As [`wait`].
pub(crate) fn wait_word(
    word: &AtomicU32,
    expected: u32,
    deadline: Option<Instant>,
) -> Result<(), Interrupted> {
    cancel::wait_by(deadline, |until| {
        with_parker(|parker| parker.park_beside(word, expected, until));
    })
}

/// Waits until `moment`, whatever wakes the caller before.
///
/// # Errors
///
/// As [`wait`].
pub(crate) fn wait_until(moment: Instant) -> Result<(), Interrupted> {
    while Instant::now() < moment {
        wait(Some(moment))?;
    }
    Ok(())
}

/// As [`wait`], for waits that cannot fail: unwinds the caller's task, without a panic message.
///
/// During an unwinding, and where panics abort, it waits as [`park`] does. So a caller takes its
/// waker out of its queue in a destructor.
pub(crate) fn wait_or_unwind(deadline: Option<Instant>) {
    cancel::wait_or_unwind(deadline);
}

/// Makes sure that whoever cancels the caller's task can wake the caller.
pub(super) fn leave_waker(slot: &Slot) {
    // A carried task is woken by its handle, and a thread without a task by nobody.
    if host().is_none() && slot.id().is_some() {
        slot.leave_waker(|| with_parker(|parker| Waker::from(Arc::clone(parker))));
    }
}

/// Waits as a thread: a word that the kernel can sleep on, and a bell for sleeps in `poll(2)`.
#[derive(Debug, Default)]
struct ThreadParker {
    word: AtomicU32,
    /// From the thread's first wait for a descriptor on, to its end.
    bell: Mutex<Option<Arc<Bell>>>,
}

/// Nothing happened yet.
const EMPTY: u32 = 0;
/// The thread sleeps on the word, or is about to.
const PARKED: u32 = 1;
/// A wake-up came and was not consumed yet.
const NOTIFIED: u32 = 2;
/// The thread sleeps in `poll(2)`, or is about to.
const POLLING: u32 = 3;

/// How long a thread sleeps in `poll(2)` that has no descriptor left for a bell.
const DEAF: Duration = Duration::from_millis(10);

impl ThreadParker {
    fn park(&self, deadline: Option<Instant>) {
        self.rest(PARKED, || {
            while self.word.load(Relaxed) == PARKED {
                if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                    break;
                }
                futex::wait(&self.word, PARKED, deadline);
            }
        });
    }

    /// Waits for a shared word too. May return early.
    fn park_beside(&self, shared: &AtomicU32, expected: u32, deadline: Option<Instant>) {
        self.rest(PARKED, || {
            futex::wait_either(&self.word, PARKED, shared, expected, deadline);
        });
    }

    /// Waits for a descriptor too. May return early.
    fn poll(&self, descriptor: BorrowedFd<'_>, interest: Interest, deadline: Option<Instant>) {
        let bell = self.bell_to_hear();
        let until = match &bell {
            Some(_) => deadline,
            None => Some(deadline.unwrap_or(Instant::now() + DEAF).min(Instant::now() + DEAF)),
        };
        self.rest(POLLING, || poll::wait_for(descriptor, interest, bell.as_deref(), until));
    }

    fn bell(&self) -> MutexGuard<'_, Option<Arc<Bell>>> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bell, made at the first call; `None` if there is no descriptor for it.
    fn bell_to_hear(&self) -> Option<Arc<Bell>> {
        let mut bell = self.bell();
        if bell.is_none() {
            *bell = Bell::new().ok().map(Arc::new);
        }
        bell.clone()
    }

    /// Calls `sleep`, which a wake-up ends, unless there was one already.
    ///
    /// Ordering: `Acquire` here pairs with `Release` in `wake`, so that what happened before the
    /// wake-up is seen after `rest`; `Release` here with `Acquire` there, so that who finds the thread
    /// polling finds its bell.
    fn rest(&self, how: u32, sleep: impl FnOnce()) {
        if self.word.compare_exchange(EMPTY, how, Release, Relaxed).is_ok() {
            let current =
                registry::current().map(|slot| (slot, slot.exchange_state(registry::PARKED)));
            sleep();
            if let Some((slot, state)) = current {
                slot.exchange_state(state);
            }
        }
        self.word.swap(EMPTY, Acquire);
    }
}

impl Wake for ThreadParker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match self.word.swap(NOTIFIED, AcqRel) {
            PARKED => futex::wake_one(&self.word),
            // A thread without a bell looks by itself.
            POLLING => {
                let bell = self.bell().clone();
                bell.into_iter().for_each(|bell| bell.ring());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_up_before_the_wait_is_remembered_once() {
        waker().wake();
        park(None);
        let deadline = Instant::now() + Duration::from_millis(1);
        park(Some(deadline));
        assert!(Instant::now() >= deadline);
    }

    #[test]
    fn a_thread_that_waits_for_a_shared_word_is_woken_by_it_by_its_waker_and_by_time() {
        static WORD: AtomicU32 = AtomicU32::new(0);
        let own = waker();
        let other = std::thread::spawn(move || {
            WORD.store(1, Release);
            futex::wake_shared(&WORD).unwrap();
            while WORD.load(Acquire) != 2 {
                std::thread::yield_now();
            }
            own.wake();
        });
        while WORD.load(Acquire) == 0 {
            wait_word(&WORD, 0, None).unwrap();
        }
        WORD.store(2, Release);
        // Nobody changes the word any more.
        wait_word(&WORD, 2, None).unwrap();
        other.join().unwrap();
        let deadline = Instant::now() + Duration::from_millis(1);
        while Instant::now() < deadline {
            wait_word(&WORD, 2, Some(deadline)).unwrap();
        }
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
