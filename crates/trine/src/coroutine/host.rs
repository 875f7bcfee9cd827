//! A carrier as the host of its coroutines' waits: its row in the table of `task/park.rs`.

use std::ptr::NonNull;
use std::task::Waker;
use std::time::Instant;

use corosensei::Yielder;

use super::carrier::Carrier;
use super::fiber::{BeforePark, Fiber, Suspend};
use crate::task::park::{Host, Turn};
use crate::task::registry;
use crate::task::slot::Slot;

impl Carrier {
    /// The fiber that the caller is.
    #[inline]
    fn caller(&self) -> &Fiber {
        self.running().expect("the host is asked only by a caller that it carries")
    }

    /// The pointer of the `Arc` of the fiber that the caller is.
    #[inline]
    fn caller_pointer(&self) -> NonNull<Fiber> {
        self.running.get().expect("the host is asked only by a caller that it carries")
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
        // In a turn, the destructor of what a refused coroutine owns may wait; as a thread.
        if self.has_own_thread() || self.in_turn.get() {
            return Turn::Sleep(deadline);
        }
        self.open_inbox();
        if !self.timers.borrow().is_empty() {
            self.expire(Instant::now());
        }
        if self.has_nothing() {
            self.stacks().borrow_mut().trim_if_many();
            let timer = self.timers.borrow().next_deadline();
            return Turn::Sleep(deadline.into_iter().chain(timer).min());
        }
        self.in_turn.set(true);
        let outer = registry::current();
        self.round();
        self.start_local();
        registry::set_current(outer);
        self.in_turn.set(false);
        Turn::Return
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
                    // Not without a turn for the others: the caller may look again and again.
                    // SAFETY: the caller is the fiber.
                    return unsafe { fiber.suspend(Suspend::Yield) };
                }
                // Without a reference of its own: the wait is taken back below, by the fiber itself.
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

    use super::super::carrier::current;
    use super::super::{spawn, yield_now};
    use super::*;
    use crate::task::park;

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
                    // When all have ended their waits, this one's carrier has none.
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
