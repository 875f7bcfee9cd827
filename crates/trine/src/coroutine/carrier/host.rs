//! A carrier as the host of its coroutines' waits: its row in the table of `task/park.rs`.

use std::ptr::NonNull;
use std::task::Waker;
use std::time::Instant;

use corosensei::Yielder;

use super::super::fiber::{BeforePark, Fiber, Suspend};
use super::super::stack::StackCache;
use super::{CARRIER, Carrier, end};
use crate::sys::thread_end;
use crate::task::budget;
use crate::task::park::{self, Host, Turn};
use crate::task::registry;
use crate::task::slot::Slot;

/// Makes `carrier` the calling thread's.
pub(super) fn enter(carrier: &'static Carrier) {
    CARRIER.set(Some(carrier));
    carrier.ready.enter();
    registry::add_carrier(&carrier.remote.running);
    park::install(carrier);
}

/// Ends the part of the calling thread in coroutines, whose thread-locals are all still there, and
/// returns its stacks.
///
/// Its local coroutines are run to their end, see `end.rs`. Not at the end of the program, though,
/// which comes by `exit` on any thread: then the thread's own frames may be there still, holding
/// locks that a destructor would wait for. Coroutines that are left never run again.
pub(in crate::coroutine) fn leave() -> Option<StackCache> {
    let carrier = CARRIER.get()?;
    let within = carrier.running().is_some() || carrier.in_turn.get();
    if carrier.has_own_thread() || within || thread_end::is_of_program() {
        detach(carrier);
        return None;
    }
    carrier.refuse_unstarted();
    carrier.end_locals(0, "its thread has ended");
    detach(carrier);
    let stacks = carrier.stacks.replace(StackCache::new());
    end::leave(carrier);
    Some(stacks)
}

/// Takes the calling thread's carrier away: the caller waits as a thread from here on.
fn detach(carrier: &'static Carrier) {
    CARRIER.set(None);
    carrier.ready.leave();
    park::uninstall();
    registry::remove_carrier(&carrier.remote.running);
}

impl Carrier {
    /// Returns the fiber that the caller is.
    #[inline]
    fn caller(&self) -> &Fiber {
        self.running().expect("only a coroutine of this carrier calls its host")
    }

    /// Returns the pointer of the `Arc` of the fiber that the caller is.
    #[inline]
    fn caller_pointer(&self) -> NonNull<Fiber> {
        self.running.get().expect("only a coroutine of this carrier calls its host")
    }
}

impl Host for Carrier {
    #[inline]
    fn carries_caller(&self) -> bool {
        self.running.get().is_some()
    }

    fn has_turns(&self) -> bool {
        !self.has_own_thread()
    }

    fn turn(&self, deadline: Option<Instant>) -> Turn {
        // During a turn, the destructors of a refused coroutine's values may wait, as a thread.
        if self.has_own_thread() || self.in_turn.get() {
            return Turn::Sleep(deadline);
        }
        self.remote.drain_inbox(&self.ready);
        if !self.timers.borrow().is_empty() {
            self.expire(Instant::now());
        }
        if self.has_nothing() {
            self.stacks.borrow_mut().trim_if_many();
            let timer = self.timers.borrow().next_deadline();
            budget::renew();
            return Turn::Sleep(deadline.into_iter().chain(timer).min());
        }
        self.in_turn.set(true);
        let outer = registry::current();
        self.round();
        self.start_local();
        registry::set_current(outer);
        self.in_turn.set(false);
        // They may borrow from thread-locals that were made in this turn.
        thread_end::guard();
        // What the last of them has left is not the thread's.
        budget::renew();
        Turn::Return
    }

    fn caller_number(&self) -> usize {
        self.caller_pointer().addr().get()
    }

    fn waker(&self) -> Waker {
        // SAFETY: the pointer is that of the `Arc` that `resume` holds while the fiber runs.
        unsafe { Fiber::waker(self.caller_pointer().as_ptr()) }
    }

    fn park(&self, deadline: Option<Instant>) {
        let fiber = self.caller();
        let timer = match deadline {
            None => None,
            Some(deadline) => {
                let now = Instant::now();
                if deadline <= now {
                    // The others get a turn first: the caller may poll again and again.
                    // SAFETY: the caller is the fiber.
                    return unsafe { fiber.suspend(Suspend::Yield) };
                }
                // The timer holds no reference: the fiber itself cancels it below.
                Some(self.timers.borrow_mut().insert(now, deadline, self.caller_pointer()))
            }
        };
        if fiber.try_park() == BeforePark::Suspend {
            // SAFETY: the caller is the fiber.
            unsafe { fiber.suspend(Suspend::Park) };
        }
        if let Some(timer) = timer {
            self.timers.borrow_mut().cancel(timer);
        }
    }

    fn act_as(&self, slot: &'static Slot) {
        // SAFETY: the caller is the fiber.
        unsafe { self.caller().act_as(slot) };
    }

    fn give_way(&self) {
        match self.running() {
            // SAFETY: the caller is the fiber.
            Some(fiber) => unsafe { fiber.suspend(Suspend::Yield) },
            // Nothing happens on a carrier's own stack.
            None => {
                let _ = self.turn(None);
            }
        }
    }

    fn next_task(&self) -> u64 {
        self.next_local_number()
    }

    fn end_task(&self, first: u64) {
        if !self.has_own_thread() && self.running().is_none() && !self.in_turn.get() {
            self.end_locals(first, "the task that has spawned it has ended");
        }
    }

    fn may_pass(&self) -> Option<NonNull<Yielder<(), Suspend>>> {
        let fiber = self.running()?;
        if self.has_nothing() { None } else { NonNull::new(fiber.yielder().cast_mut()) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering::SeqCst;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::super::current;
    use super::*;
    use crate::coroutine::{spawn, yield_now};

    #[test]
    fn a_hundred_thousand_timers_cancelled_by_early_wake_ups_leave_no_trace() {
        const WAITERS: usize = 100_000;
        const AN_HOUR: Duration = Duration::from_secs(3600);
        static WAKES: AtomicUsize = AtomicUsize::new(0);
        static WAITING: AtomicUsize = AtomicUsize::new(0);
        static OVER: AtomicUsize = AtomicUsize::new(0);
        let wakers: Arc<Mutex<Vec<Waker>>> = Arc::default();
        let waiters: Vec<_> = (0..WAITERS)
            .map(|_| {
                let wakers = Arc::clone(&wakers);
                spawn(move || {
                    wakers.lock().unwrap().push(park::waker());
                    WAITING.fetch_add(1, SeqCst);
                    let deadline = Instant::now() + AN_HOUR;
                    while OVER.load(SeqCst) == 0 {
                        park::park(Some(deadline));
                        WAKES.fetch_add(1, SeqCst);
                    }
                    WAITING.fetch_sub(1, SeqCst);
                    // No wait is left in any of them, so none is left at this carrier.
                    while WAITING.load(SeqCst) > 0 {
                        yield_now();
                    }
                    assert!(current().unwrap().timers.borrow().is_empty());
                })
            })
            .collect();
        while WAITING.load(SeqCst) < WAITERS {
            std::thread::yield_now();
        }
        // Wake-ups that change nothing: each wait begins anew.
        wakers.lock().unwrap().iter().for_each(Waker::wake_by_ref);
        while WAKES.load(SeqCst) < WAITERS {
            std::thread::yield_now();
        }
        OVER.store(1, SeqCst);
        wakers.lock().unwrap().drain(..).for_each(Waker::wake);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    }
}
