//! The end of a thread's local coroutines, and of its carrier, which passes to another thread.
//!
//! Such a thread runs its local coroutines while it waits. Once its task or its function has ended,
//! it waits no more. A coroutine that was left unfinished would keep its place in the queues of
//! locks and channels, and the others there would wait for it forever. So it is cancelled, and run
//! to its end while the thread-locals that it may borrow are still alive:
//!
//! | at the end of | called by | for the coroutines |
//! |---|---|---|
//! | a task on a thread | the task's function ([`Host::end_task`]) | that were spawned in it |
//! | the thread | the guard of `sys/thread_end.rs` | of the thread |
//!
//! [`Host::end_task`]: crate::task::park::Host::end_task

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::super::fiber::{self, Fiber};
use super::super::stack::StackCache;
use super::super::timers::Timers;
use super::Carrier;
use super::locals::Locals;
use crate::task::slot::Request;
use crate::task::{park, registry};

/// The time that cancelled coroutines have to end.
const PATIENCE: Duration = Duration::from_secs(1);

impl Carrier {
    /// Returns the number of the next local coroutine.
    pub(super) fn next_local_number(&self) -> u64 {
        self.locals.borrow().next_number()
    }

    /// Cancels the local coroutines with numbers from `first` on, and runs them to their end.
    /// Returns false if some are left: they have caught their cancellation, or wait for something
    /// in a destructor or a shield, for longer than [`PATIENCE`].
    pub(super) fn end_locals(&self, first: u64, reason: &str) -> bool {
        let until = Instant::now() + PATIENCE;
        let mut cancelled = first;
        while self.locals.borrow_mut().has_unfinished(first) {
            let new = self.locals.borrow().since(cancelled);
            if !new.is_empty() {
                cancelled = self.next_local_number();
                new.into_iter().for_each(|fiber| self.cancel(fiber, reason));
                continue;
            }
            if Instant::now() >= until {
                return false;
            }
            park::park(Some(until));
        }
        true
    }

    fn cancel(&self, fiber: Arc<Fiber>, reason: &str) {
        match fiber.slot().request_cancel(Some(reason.into())) {
            Request::Claimed => {
                let outer = registry::current();
                // The values that its function owns are dropped here, and may wait, as a thread.
                registry::set_current(None);
                // SAFETY: claimed.
                unsafe { fiber.refuse_as(fiber.slot().cancellation()) };
                registry::set_current(outer);
            }
            // SAFETY: the pointer of an `Arc` that is alive.
            Request::Wake => unsafe { fiber::wake(Arc::as_ptr(&fiber)) },
            Request::Nothing => {}
        }
    }

    /// Drops the local coroutines that have not started.
    pub(super) fn refuse_unstarted(&self) {
        self.locals.borrow_mut().closed = true;
        while let Some(fiber) = self.next_local() {
            if fiber.slot().claim() {
                self.refuse(&fiber, "its thread has ended before it had its first turn".into());
            }
        }
        self.locals.borrow_mut().closed = false;
    }

    /// Drops what is left of coroutines that have ended. Returns false if some are unfinished.
    fn let_go(&self) -> bool {
        if self.locals.borrow_mut().has_unfinished(0) {
            return false;
        }
        // Those that were cancelled before their first turn are still in the queue.
        drop(self.local.take());
        true
    }
}

/// Carriers of threads that have ended, for others: all their coroutines have ended.
static SPARE: Mutex<Vec<Spare>> = Mutex::new(Vec::new());

struct Spare(&'static Carrier);

// SAFETY: a carrier without coroutines holds nothing that is bound to a thread. The thread that
// leaves it here does not touch it any more, and the one that takes it has it alone.
unsafe impl Send for Spare {}

/// Leaves a carrier to another thread, if all its coroutines have ended. If not, their wakers may
/// use its queue at any time, so it stays where it is, permanently.
pub(super) fn leave(carrier: &'static Carrier) {
    if carrier.let_go() {
        SPARE.lock().unwrap_or_else(PoisonError::into_inner).push(Spare(carrier));
    }
}

/// Takes a carrier that another thread has left, for the calling thread.
pub(super) fn take(stacks: StackCache, waker: &Waker) -> Result<&'static Carrier, StackCache> {
    let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let Some(Spare(carrier)) = spare else { return Err(stacks) };
    if let Some(thread) = &carrier.remote.thread {
        *thread.lock().unwrap_or_else(PoisonError::into_inner) = waker.clone();
    }
    *carrier.stacks.borrow_mut() = stacks;
    *carrier.timers.borrow_mut() = Timers::new(Instant::now());
    *carrier.locals.borrow_mut() = Locals::default();
    carrier.in_turn.set(false);
    Ok(carrier)
}

#[cfg(test)]
mod tests {
    use super::super::current;
    use crate::coroutine::{spawn_local, yield_now};

    #[test]
    fn a_carrier_that_passes_to_another_thread_brings_no_coroutine_that_was_cancelled() {
        let thread = std::thread::spawn(|| {
            spawn_local(yield_now).join().unwrap();
            let carrier = current().unwrap();
            spawn_local(|| ()).cancel();
            assert!(!carrier.has_nothing());
            assert!(carrier.let_go() && carrier.has_nothing());
            let unfinished = spawn_local(|| 7);
            assert!(!carrier.let_go());
            assert_eq!(unfinished.join().unwrap(), 7);
        });
        thread.join().unwrap();
    }
}
