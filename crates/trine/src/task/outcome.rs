//! The cell in which a task leaves its result and one joiner waits for it.
//!
//! One producer, one consumer, one value. The word `state` decides which of both may touch a field:
//!
//! | state | `value` | `joiner` |
//! |---|---|---|
//! | `0` | producer | consumer |
//! | `JOINER` | producer | neither |
//! | `DONE` | consumer | consumer |
//! | `DONE`, was `JOINER` | consumer | producer, to take and wake it |
//! | `DETACHED` | producer | consumer, to drop it |
//! | `DONE`, was `DETACHED` | producer, to drop it | as before |
//!
//! So a value that will not be joined is dropped by the producer, on the task's own stack, or after
//! the end by the thread that drops the handle. It is never dropped by a scheduler that releases
//! the task's memory.
//!
//! Ordering: the producer's swap to `DONE` releases the value, the consumer's loads acquire it; the
//! consumer's step to `JOINER` releases the waker, the producer's swap acquires it.

use std::cell::UnsafeCell;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::task::Waker;
use std::time::Instant;

use super::error::TaskError;
use super::park;

/// The value is stored. Set once, by the producer; excludes every later `JOINER`.
const DONE: u32 = 1;
/// A waker is stored. Set and cleared by the consumer, while not `DONE`.
const JOINER: u32 = 2;
/// The value will not be taken. Set once, by the consumer, which touches nothing afterwards.
const DETACHED: u32 = 4;

/// The outcome of a task that ends with a `T`.
#[derive(Debug)]
pub(crate) struct Outcome<T> {
    state: AtomicU32,
    joiner: UnsafeCell<Option<Waker>>,
    value: UnsafeCell<Option<Result<T, TaskError>>>,
}

// SAFETY: the table above: no field is touched by two threads without a step of `state` between
// them. A `T` is made on one thread and taken on another, never shared: `Send` is enough.
unsafe impl<T: Send> Sync for Outcome<T> {}

impl<T> Outcome<T> {
    pub(crate) const fn new() -> Outcome<T> {
        Outcome {
            state: AtomicU32::new(0),
            joiner: UnsafeCell::new(None),
            value: UnsafeCell::new(None),
        }
    }

    /// Leaves the result and wakes the joiner.
    ///
    /// # Safety
    ///
    /// Called once in the life of an outcome: the caller is its one producer.
    pub(crate) unsafe fn complete(&self, result: Result<T, TaskError>) {
        // SAFETY: not `DONE` yet, so the field is the producer's, which is the caller.
        unsafe { *self.value.get() = Some(result) };
        let before = self.state.swap(DONE, AcqRel);
        if before & DETACHED != 0 {
            // SAFETY: `DONE` was set over `DETACHED`: the field is the producer's, to drop it.
            unsafe { self.drop_value() };
        } else if before & JOINER != 0 {
            // SAFETY: `DONE` was set over `JOINER`: the field is the producer's now.
            if let Some(waker) = unsafe { (*self.joiner.get()).take() } {
                park::wake(waker);
            }
        }
    }

    /// Notes that the value will not be taken, and drops a registered waker.
    ///
    /// # Safety
    ///
    /// The caller is the one consumer, and calls nothing that takes a consumer afterwards.
    pub(crate) unsafe fn detach(&self) {
        let before = self.state.fetch_or(DETACHED, AcqRel);
        if before & DONE != 0 {
            // SAFETY: `DONE` came first: the field is the consumer's.
            unsafe { self.drop_value() };
        } else if before & JOINER != 0 {
            // SAFETY: `DETACHED` came before `DONE`: the field is the consumer's, to drop it.
            park::discard(unsafe { (*self.joiner.get()).take() });
        }
    }

    /// Drops the value.
    ///
    /// # Safety
    ///
    /// The caller owns the field `value`.
    unsafe fn drop_value(&self) {
        // In place, so that an optimised build moves no large value to the caller's stack.
        // SAFETY: the caller's promise.
        let drop_value = || unsafe { *self.value.get() = None };
        // A panic in the destructor of an unwanted value has no receiver; the panic hook has
        // reported it.
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(drop_value)) {
            // The payload's own destructor could panic again, and so on.
            mem::forget(payload);
        }
    }

    /// Returns true if the result is stored.
    pub(crate) fn is_done(&self) -> bool {
        self.state.load(Acquire) & DONE != 0
    }

    /// Registers `waker` to be woken at completion, in place of the waker of an earlier call.
    /// Returns true if the outcome is there already; then the waker is not registered.
    ///
    /// # Safety
    ///
    /// The caller is the one consumer: no other call that takes a consumer runs at the same time.
    pub(crate) unsafe fn register(&self, waker: &Waker) -> bool {
        // SAFETY: the caller is the consumer.
        if !unsafe { self.unregister() } {
            return true;
        }
        let waker = waker.clone();
        // SAFETY: the state is 0, so the field is the consumer's.
        unsafe { *self.joiner.get() = Some(waker) };
        if self.state.compare_exchange(0, JOINER, Release, Acquire).is_ok() {
            return false;
        }
        // SAFETY: `DONE` without `JOINER`: the field is the consumer's. Left there, the waker would
        // be dropped with the task's memory, perhaps by a scheduler.
        park::discard(unsafe { (*self.joiner.get()).take() });
        true
    }

    /// Takes back a registered waker. Returns false if the outcome is there, so the waker is used.
    ///
    /// # Safety
    ///
    /// See [`register`](Self::register).
    unsafe fn unregister(&self) -> bool {
        match self.state.compare_exchange(JOINER, 0, Acquire, Acquire) {
            Ok(_) => {
                // SAFETY: the state is 0, so the field is the consumer's.
                park::discard(unsafe { (*self.joiner.get()).take() });
                true
            }
            Err(state) => state & DONE == 0,
        }
    }

    /// Waits for the outcome, by `park`. Returns false if `deadline` came first.
    ///
    /// # Errors
    ///
    /// The first error of `park`, unless the outcome is there by then.
    ///
    /// # Safety
    ///
    /// See [`register`](Self::register).
    pub(crate) unsafe fn wait<E>(
        &self,
        deadline: Option<Instant>,
        park: impl Fn(Option<Instant>) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.is_done() {
            return Ok(true);
        }
        let waker = park::waker();
        // SAFETY: the caller is the consumer.
        if unsafe { self.register(&waker) } {
            return Ok(true);
        }
        loop {
            let parked = park(deadline);
            if self.is_done() {
                return Ok(true);
            }
            let late = deadline.is_some_and(|deadline| deadline <= Instant::now());
            // SAFETY: the caller is the consumer.
            if (late || parked.is_err()) && unsafe { self.unregister() } {
                return parked.map(|()| false);
            }
        }
    }

    /// Takes the result, once it is there.
    ///
    /// # Safety
    ///
    /// See [`register`](Self::register).
    pub(crate) unsafe fn take(&self) -> Option<Result<T, TaskError>> {
        if !self.is_done() {
            return None;
        }
        // SAFETY: `DONE`: the field belongs to the consumer, which is the caller.
        unsafe { (*self.value.get()).take() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wait;
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_detached_value_is_dropped_by_the_side_that_comes_last() {
        for detach_first in [true, false] {
            let outcome = Outcome::new();
            let value = Arc::new(());
            // SAFETY: one thread is producer and consumer, each call is made once.
            unsafe {
                if detach_first {
                    outcome.detach();
                    outcome.complete(Ok(Arc::clone(&value)));
                } else {
                    outcome.complete(Ok(Arc::clone(&value)));
                    outcome.detach();
                }
            }
            assert_eq!(Arc::strong_count(&value), 1);
        }
    }

    #[test]
    fn the_value_crosses_threads_and_wakes_the_joiner() {
        for round in 0..2000 {
            let outcome = Arc::new(Outcome::new());
            let producer = Arc::clone(&outcome);
            // SAFETY: the one producer.
            let thread = std::thread::spawn(move || unsafe { producer.complete(Ok(vec![round])) });
            // SAFETY: the one consumer.
            unsafe {
                assert_eq!(outcome.wait(None, wait::for_wake), Ok(true));
                assert_eq!(outcome.take().unwrap().unwrap(), [round]);
            }
            thread.join().unwrap();
        }
    }

    #[test]
    fn detaching_drops_the_waker_that_was_registered() {
        struct Nobody;
        impl std::task::Wake for Nobody {
            fn wake(self: Arc<Self>) {}
        }
        let (outcome, nobody) = (Outcome::<()>::new(), Arc::new(Nobody));
        // SAFETY: one thread is producer and consumer, each call is made once.
        unsafe {
            assert!(!outcome.register(&Waker::from(Arc::clone(&nobody))));
            outcome.detach();
            assert_eq!(Arc::strong_count(&nobody), 1);
            outcome.complete(Ok(()));
        }
    }

    #[test]
    fn a_wait_that_times_out_can_be_repeated() {
        let outcome = Outcome::new();
        // SAFETY: one thread is producer and consumer.
        unsafe {
            let soon = Instant::now() + Duration::from_millis(1);
            assert_eq!(outcome.wait(Some(soon), wait::for_wake), Ok(false));
            assert!(outcome.take().is_none());
            outcome.complete(Ok(7));
            assert_eq!(outcome.wait(Some(Instant::now()), wait::for_wake), Ok(true));
            assert_eq!(outcome.take().unwrap().unwrap(), 7);
        }
    }
}
