//! Waiting as a thread: a word to sleep on, and a bell that ends sleeps in `poll(2)`.

use std::cell::{Cell, OnceCell};
use std::mem::ManuallyDrop;
use std::os::fd::BorrowedFd;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;
use std::time::{Duration, Instant};

use super::{registry, slot};
use crate::sys::futex;
use crate::sys::io::poll::{self, Bell, Interest};
use crate::sys::process::fork_detect;
use crate::sys::thread_end;

thread_local! {
    static THREAD: OnceCell<OwnParker> = const { OnceCell::new() };
    /// Replaces `THREAD` once that is destroyed, for waits in the destructors of other
    /// thread-locals. It has no destructor, so it can be used as long as the thread runs.
    static LATE: Cell<Option<ManuallyDrop<Arc<ThreadParker>>>> = const { Cell::new(None) };
}

/// Calls `f` with the parker of the calling thread.
pub(super) fn with_parker<R>(f: impl Fn(&Arc<ThreadParker>) -> R) -> R {
    THREAD
        .try_with(|parker| f(&parker.get_or_init(OwnParker::default).0))
        .unwrap_or_else(|_| with_late_parker(f))
}

#[cold]
fn with_late_parker<R>(f: impl Fn(&Arc<ThreadParker>) -> R) -> R {
    thread_end::on_end(drop_late_parker);
    thread_end::guard();
    let parker = LATE.take().map(ManuallyDrop::into_inner).unwrap_or_default();
    // In place meanwhile: `f` may wait for something else, too.
    LATE.set(Some(ManuallyDrop::new(Arc::clone(&parker))));
    f(&parker)
}

/// Drops the late parker after the destructor that has waited with it.
fn drop_late_parker() {
    drop(LATE.take().map(|parker| OwnParker(ManuallyDrop::into_inner(parker))));
}

/// The parker of a thread, for the thread itself. Wakers may keep the parker forever, but not its
/// descriptor.
#[derive(Default)]
struct OwnParker(Arc<ThreadParker>);

impl Drop for OwnParker {
    fn drop(&mut self) {
        self.0.drop_bell();
    }
}

/// The waits of one thread.
#[derive(Debug, Default)]
pub(super) struct ThreadParker {
    word: AtomicU32,
    /// From the thread's first wait for a descriptor on, to its end. With the number of the process
    /// that has made it: the copies of a process that was forked share a bell's descriptor.
    bell: Mutex<Option<(u64, Arc<Bell>)>>,
}

/// Nothing has happened yet.
const EMPTY: u32 = 0;
/// The thread sleeps on the word, or is about to.
const PARKED: u32 = 1;
/// A wake-up came and was not consumed yet.
const NOTIFIED: u32 = 2;
/// The thread sleeps in `poll(2)`, or is about to.
const POLLING: u32 = 3;

/// The longest sleep in `poll(2)` of a thread that has no descriptor left for a bell.
const WITHOUT_BELL: Duration = Duration::from_millis(10);

impl ThreadParker {
    /// Waits for a wake-up, or until `deadline`.
    pub(super) fn park(&self, deadline: Option<Instant>) {
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
    pub(super) fn park_beside(&self, shared: &AtomicU32, expected: u32, deadline: Option<Instant>) {
        self.rest(PARKED, || {
            futex::wait_either(&self.word, PARKED, shared, expected, deadline);
        });
    }

    /// Waits for a descriptor too. May return early.
    pub(super) fn poll(
        &self,
        descriptor: BorrowedFd<'_>,
        interest: Interest,
        deadline: Option<Instant>,
    ) {
        let bell = self.bell_or_new();
        let until = match &bell {
            Some(_) => deadline,
            None => {
                let soon = Instant::now() + WITHOUT_BELL;
                Some(deadline.map_or(soon, |deadline| deadline.min(soon)))
            }
        };
        self.rest(POLLING, || poll::wait_for(descriptor, interest, bell.as_deref(), until));
    }

    /// Closes the bell's descriptor; the next wait that needs a bell opens another.
    pub(super) fn drop_bell(&self) {
        let bell = self.bell().take();
        drop(bell);
    }

    fn bell(&self) -> MutexGuard<'_, Option<(u64, Arc<Bell>)>> {
        self.bell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the bell, made at the first call; `None` if there is no descriptor for it.
    fn bell_or_new(&self) -> Option<Arc<Bell>> {
        let process = fork_detect::generation();
        let mut own = self.bell();
        if own.as_ref().is_none_or(|(maker, _)| *maker != process) {
            *own = Bell::new().ok().map(|bell| (process, Arc::new(bell)));
        }
        own.as_ref().map(|(_, bell)| Arc::clone(bell))
    }

    /// Calls `sleep`, which a wake-up ends, unless a wake-up came before.
    ///
    /// Ordering: `Acquire` here pairs with `Release` in `wake`, so what happened before the wake-up
    /// is seen after `rest`. `Release` here pairs with `Acquire` there, so a waker that finds the
    /// thread polling finds its bell.
    fn rest(&self, how: u32, sleep: impl FnOnce()) {
        if self.word.compare_exchange(EMPTY, how, Release, Relaxed).is_ok() {
            let current = registry::current();
            let current = current.map(|slot| (slot, slot.exchange_state(slot::PARKED)));
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
                bell.into_iter().for_each(|(_, bell)| bell.ring());
            }
            _ => {}
        }
    }
}
