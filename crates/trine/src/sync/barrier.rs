//! All arrive before any goes on.

use std::fmt;

use super::atomic::{Mutex, MutexGuard, PoisonError};
use super::queue::{Queued, WaitQueue, Waiter};

/// A place where a number of tasks wait for each other, again and again; as [`std::sync::Barrier`].
///
/// One who is cancelled while it waits has not arrived: the others wait for somebody in its place.
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
    /// Who has arrived in this generation and waits.
    arrived: usize,
    generation: u64,
}

/// What [`Barrier::wait`] says of the caller.
#[derive(Debug)]
pub struct BarrierWaitResult(bool);

impl BarrierWaitResult {
    /// Whether the caller is the one of its generation that came last.
    pub fn is_leader(&self) -> bool {
        self.0
    }
}

impl Barrier {
    /// A barrier that lets go when `n` have arrived. 0 is as good as 1: nobody ever waits.
    pub const fn new(n: usize) -> Barrier {
        let state = Mutex::new(State { arrived: 0, generation: 0 });
        Barrier { n, state, queue: WaitQueue::new() }
    }

    /// Waits until all have arrived. The barrier can be used again at once.
    ///
    /// Unwinds the task if it is cancelled while it waits.
    pub fn wait(&self) -> BarrierWaitResult {
        let waiter = Waiter::new(0);
        let mut state = self.lock();
        let list = self.queue.lock();
        if state.arrived + 1 >= self.n {
            state.arrived = 0;
            state.generation += 1;
            // The list is locked: who arrives for the next generation joins after this one.
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

    /// Locked before the list, never after.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("n", &self.n).finish_non_exhaustive()
    }
}

/// One who has arrived; dropped before the others have, it has not.
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
