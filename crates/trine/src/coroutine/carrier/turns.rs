//! The turns of a carrier's tasks: first runs, switches and ends.
//!
//! `round` and all that it calls for a switch are in this one file, so that the compiler may inline
//! them into one loop.

use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::super::fiber::{self, Fiber, Suspend};
use super::super::future::QueuedFuture;
use super::super::scheduler::Unstarted;
use super::{Carrier, ROUND};
use crate::sys;
use crate::task::{budget, registry};

/// First runs for each turn of a started task. A parent that joins its children in the order in
/// which it spawned them is woken by the first one, and finds some more finished.
const STARTS: usize = 8;
/// Turns between the prefetch of a fiber's stack and the fiber's own turn.
const AHEAD: usize = 8;

impl Carrier {
    /// Runs the tasks that are ready: after each turn of a started one, some first runs.
    pub(super) fn round(&self) {
        let mut turns = 0;
        while turns < ROUND {
            let next = self.next();
            let idle = next.is_none();
            if let Some(fiber) = next {
                self.resume(fiber);
                turns += 1;
            }
            if self.unstarted.is_empty() {
                if idle {
                    break;
                }
                continue;
            }
            for _ in 0..STARTS {
                let Some(task) = self.unstarted.pop() else { break };
                self.start(task);
                turns += 1;
            }
        }
        for _ in 0..ROUND {
            let next = self.ready.futures.borrow_mut().pop_front();
            let Some(future) = next else { break };
            self.poll(future);
        }
        self.clear_running();
    }

    /// Takes the next started fiber.
    ///
    /// With more fibers than the caches hold, a switch waits for memory, one cache line after the
    /// other. So the lines of the next fibers are prefetched meanwhile, in the order in which each
    /// leads to the next.
    #[inline(always)]
    fn next(&self) -> Option<Arc<Fiber>> {
        let mut ready = self.ready.fibers.borrow_mut();
        if let Some(far) = ready.get(2 * AHEAD) {
            sys::prefetch(Arc::as_ptr(far).cast::<u8>());
            ready[AHEAD].prefetch_stack();
        }
        ready.pop_front()
    }

    /// Notes that no task runs.
    pub(super) fn clear_running(&self) {
        self.remote.running.store(ptr::null_mut(), Relaxed);
        registry::set_current(None);
    }

    /// Starts local coroutines, in the order in which they were spawned.
    pub(super) fn start_local(&self) {
        for _ in 0..ROUND {
            let Some(fiber) = self.next_local() else { return };
            self.begin(fiber);
            self.clear_running();
        }
    }

    /// Wakes the fibers and futures whose time has come. Not inlined: that would cost the loop of
    /// switches registers.
    #[inline(never)]
    pub(super) fn expire(&self, now: Instant) {
        self.remote.timers.expire(now);
        loop {
            let expired = self.timers.borrow_mut().pop_expired(now);
            let Some(fiber) = expired else { return };
            // SAFETY: the fiber is in `park`, which cancels its timer before it returns. So the
            // fiber has not ended, and the reference that it runs by is still held.
            unsafe { fiber::wake(fiber.as_ptr()) };
        }
    }

    /// Gives a task its first run.
    pub(super) fn start(&self, task: Unstarted) {
        match task {
            Unstarted::Coroutine(fiber) => self.begin(fiber),
            Unstarted::Future(future) => self.poll(future),
        }
    }

    /// Gives a future its turn.
    fn poll(&self, future: QueuedFuture) {
        let slot = future.slot();
        registry::set_current(Some(slot));
        self.remote.running.store(ptr::from_ref(slot).cast_mut(), Relaxed);
        budget::renew();
        // SAFETY: the future comes from this carrier's queue, or starts here, and this is the
        // carrier's own stack.
        if let Some(future) = unsafe { future.turn(self.remote) } {
            self.ready.futures.borrow_mut().push_back(future);
        }
    }

    /// Gives a fiber its first run, unless it was cancelled before.
    fn begin(&self, fiber: Arc<Fiber>) {
        if !fiber.slot().claim() {
            return;
        }
        let stack = self.stacks.borrow_mut().take(fiber.stack_size());
        match stack {
            Ok(stack) => {
                // SAFETY: claimed, so this is its first run. From here on only this carrier runs
                // it, and holds an `Arc` of it until it has ended.
                unsafe { fiber.begin(stack, self.remote) };
                self.resume(fiber);
            }
            Err(reason) => self.refuse(&fiber, reason),
        }
    }

    /// Ends a fiber that the caller has claimed, in place of its first run.
    pub(super) fn refuse(&self, fiber: &Fiber, reason: String) {
        // The values that its function owns are dropped here, and may wait, as a thread.
        registry::set_current(None);
        // SAFETY: claimed.
        unsafe { fiber.refuse(reason) };
    }

    /// Lets a fiber run until it suspends or ends.
    #[inline(always)]
    fn resume(&self, fiber: Arc<Fiber>) {
        // SAFETY: this is its carrier; it has begun here and not ended, or it would not be queued.
        registry::set_current(Some(unsafe { fiber.acts_for() }));
        self.remote.running.store(ptr::from_ref(fiber.slot()).cast_mut(), Relaxed);
        // The `Arc`'s own pointer, not a pointer to the fiber alone: references are made of it.
        self.running.set(NonNull::new(Arc::as_ptr(&fiber).cast_mut()));
        budget::renew();
        // SAFETY: on the carrier's own stack; the fiber has begun here and not ended, or it would
        // not be queued.
        let suspended = unsafe { fiber.resume() };
        self.running.set(None);
        match suspended {
            Some(Suspend::Yield) => self.ready.fibers.borrow_mut().push_back(fiber),
            // The reference passes to the waker, which may already use it.
            Some(Suspend::Park) => std::mem::forget(fiber),
            None => self.end(fiber),
        }
    }

    /// Takes the stack of a fiber that has ended.
    fn end(&self, fiber: Arc<Fiber>) {
        // SAFETY: it has ended, here.
        let stack = unsafe { fiber.take_stack() };
        self.stacks.borrow_mut().release(stack);
    }
}
