//! A barrier: all arrive before any goes on.

use std::fmt;

use super::atomic::{Mutex, MutexGuard, PoisonError};
use super::queue::{Queued, WaitQueue, Waiter};
use crate::task::budget;

/// A point where a number of tasks wait for each other, again and again, like
/// [`std::sync::Barrier`].
///
/// A task that is cancelled while it waits has not arrived: the others wait for another in its
/// place.
///
/// ```
/// use std::sync::Arc;
/// use trine::{coroutine, sync::Barrier};
///
/// let barrier = Arc::new(Barrier::new(3));
/// let tasks: Vec<_> = (0..3)
///     .map(|_| {
///         let barrier = Arc::clone(&barrier);
///         coroutine::spawn(move || barrier.wait().is_leader())
///     })
///     .collect();
/// let leaders = tasks.into_iter().map(|task| task.join().unwrap());
/// assert_eq!(leaders.filter(|leader| *leader).count(), 1);
/// ```
pub struct Barrier {
    n: usize,
    state: Mutex<State>,
    queue: WaitQueue,
}

struct State {
    /// The number of tasks that have arrived in this generation and wait.
    arrived: usize,
    generation: u64,
}

/// The result of [`Barrier::wait`].
///
/// ```
/// let result = trine::sync::Barrier::new(1).wait(); // waits for no other task
/// assert!(result.is_leader());
/// ```
#[derive(Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Returns true if the caller is the last of its generation that arrived.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    /// Makes a barrier that releases `n` tasks at a time. 0 means the same as 1: no task ever
    /// waits.
    pub const fn new(n: usize) -> Barrier {
        let state = Mutex::new(State { arrived: 0, generation: 0 });
        Barrier { n, state, queue: WaitQueue::new() }
    }

    /// Waits until all have arrived. The barrier can be used again at once.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    pub fn wait(&self) -> BarrierWaitResult {
        budget::spend();
        let waiter = Waiter::new(0);
        let mut state = self.lock();
        let list = self.queue.lock();
        if state.arrived + 1 >= self.n {
            state.arrived = 0;
            state.generation += 1;
            // The list is locked: tasks that arrive for the next generation join after this.
            drop(state);
            self.queue.wake_all(list);
            return BarrierWaitResult(true);
        }
        state.arrived += 1;
        // SAFETY: a new node, and `_arrival` is dropped before it, whatever happens.
        let place = unsafe { self.queue.join(list, &waiter) };
        let _arrival = Arrival { barrier: self, generation: state.generation, _place: place };
        drop(state);
        waiter.wait(None);
        BarrierWaitResult(false)
    }

    /// Locks the state. Before the list, never after.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("n", &self.n).finish_non_exhaustive()
    }
}

/// An arrival. Dropped before all others have arrived, it is taken back.
struct Arrival<'a> {
    barrier: &'a Barrier,
    generation: u64,
    _place: Queued<'a>,
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        let mut state = self.barrier.lock();
        if state.generation == self.generation {
            state.arrived -= 1;
        }
    }
}
