//! An initialisation that happens once: the word and its transitions. The drawing is in `mod.rs`.

use std::fmt;

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::queue::{WaitQueue, Waiter};
use crate::task::{registry, wait};
use Ordering::{Acquire, Relaxed, Release};

/// No task initialises, or has done so.
const INCOMPLETE: u64 = 0;
/// Initialised. No task has this number.
const COMPLETE: u64 = u64::MAX;

/// An initialisation that happens once, by the first caller, like [`std::sync::Once`].
///
/// The others wait until it is complete. A wait parks the coroutine, not its thread, so the
/// initialiser may wait, too: for a file, a server, another task.
///
/// **There is no poisoning.** An initialiser that panics, or whose task is cancelled in a wait,
/// leaves the `Once` as it was, and the next caller initialises.
///
/// To initialise a value, use [`OnceLock`](super::OnceLock) or [`LazyLock`](super::LazyLock).
///
/// ```
/// use trine::{coroutine, sync::Once};
///
/// static LOGGING: Once = Once::new();
///
/// let tasks: Vec<_> = (0..3)
///     .map(|_| coroutine::spawn(|| LOGGING.call_once(|| println!("this is printed once"))))
///     .collect();
/// for task in tasks {
///     task.join()?;
/// }
/// assert!(LOGGING.is_completed());
/// # Ok::<(), trine::TaskError>(())
/// ```
pub struct Once {
    word: AtomicU64,
    queue: WaitQueue,
}

impl Once {
    /// Makes one that is not complete.
    pub const fn new() -> Once {
        Once { word: AtomicU64::new(INCOMPLETE), queue: WaitQueue::new() }
    }

    /// Calls `init` unless an earlier call is complete. Waits while another task initialises.
    /// Afterwards the initialisation is complete, and its writes are visible.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// # Panics
    ///
    /// If `init` does. And if the caller initialises this `Once` already, which would wait for
    /// itself forever; with the exception that [`Mutex::lock`](crate::sync::Mutex::lock) names.
    #[inline]
    #[track_caller]
    pub fn call_once(&self, init: impl FnOnce()) {
        if !self.is_completed() {
            let mut init = Some(init);
            self.call(&mut || {
                init.take().expect("called once")();
                true
            });
        }
    }

    /// Returns true if an initialisation is complete. Its writes are visible then.
    ///
    /// ```
    /// let once = trine::sync::Once::new();
    /// assert!(!once.is_completed());
    /// once.call_once(|| ());
    /// assert!(once.is_completed());
    /// ```
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.word.load(Acquire) == COMPLETE
    }

    /// Waits until another task has completed the initialisation.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    ///
    /// ```
    /// use trine::{coroutine, sync::Once};
    ///
    /// static READY: Once = Once::new();
    ///
    /// let task = coroutine::spawn(|| READY.wait());
    /// READY.call_once(|| ());
    /// task.join()?;
    /// # Ok::<(), trine::TaskError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the caller itself initialises; see [`call_once`](Self::call_once).
    #[track_caller]
    pub fn wait(&self) {
        loop {
            match self.word.load(Acquire) {
                COMPLETE => return,
                seen => self.wait_for_change(seen, registry::caller()),
            }
        }
    }

    /// Calls `init`, once at most, unless the initialisation is complete. It stays incomplete if
    /// `init` returns false, as if it had unwound: the models have no other way.
    #[cold]
    #[track_caller]
    pub(in crate::sync) fn call(&self, init: &mut dyn FnMut() -> bool) {
        let caller = registry::caller();
        loop {
            match self.word.compare_exchange(INCOMPLETE, caller, Acquire, Acquire) {
                Ok(_) => {
                    let mut running = Running { once: self, end: INCOMPLETE };
                    if init() {
                        running.end = COMPLETE;
                    }
                    return;
                }
                Err(COMPLETE) => return,
                Err(seen) => self.wait_for_change(seen, caller),
            }
        }
    }

    /// Waits until the word, which was `seen`, has changed, or a task that initialised has ended.
    #[track_caller]
    fn wait_for_change(&self, seen: u64, caller: u64) {
        if seen == caller && !wait::has_limit() {
            panic!(
                "the initialiser needs the very value that it makes, and would wait for itself \
                 forever: make the value of what is there already"
            );
        }
        let waiter = Waiter::new(0);
        let list = self.queue.lock();
        // A change from here on finds this waiter.
        if self.word.load(Relaxed) != seen {
            return;
        }
        // SAFETY: a new node, and `_place` is dropped before it, whatever happens.
        let _place = unsafe { self.queue.join(list, &waiter) };
        waiter.wait(None);
    }
}

/// The call of an initialiser. Dropped, also by unwinding, it ends the call and wakes all waiters.
struct Running<'a> {
    once: &'a Once,
    /// The word after the end.
    end: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let list = self.once.queue.lock();
        self.once.word.store(self.end, Release);
        self.once.queue.wake_all(list);
    }
}

impl Default for Once {
    fn default() -> Once {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("completed", &self.is_completed()).finish()
    }
}
