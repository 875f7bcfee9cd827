//! The arm `future` of [`select!`](macro@super::super::select).
//!
//! A future is polled while no arm of its `select!` is in a queue, as it may take something when it
//! becomes ready. So a wake-up during the wait only ends that wait, and the next attempt polls.

use std::ops::DerefMut;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::task::{Context, Poll, Wake, Waker};

use super::arms::sealed::Steps;
use super::waiter::Choice;
use crate::sync::atomic::AtomicBool;
use crate::task::park;

/// The arm of `future`.
#[doc(hidden)]
pub struct FutureArm<P, F: Future> {
    /// `None` once it was dropped.
    future: Pin<P>,
    bell: Arc<Bell>,
    /// True if the caller does not wait: one poll has answered.
    looks: bool,
    outcome: Option<F::Output>,
}

/// The waker of a future, which notes that it was used and wakes the caller.
struct Bell {
    has_rung: AtomicBool,
    caller: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Release);
        park::wake_by_ref(&self.caller);
    }
}

#[doc(hidden)]
pub fn future<P, F>(future: Pin<P>) -> FutureArm<P, F>
where
    P: DerefMut<Target = Option<F>>,
    F: Future,
{
    let bell = Arc::new(Bell { has_rung: AtomicBool::new(false), caller: park::waker() });
    FutureArm { future, bell, looks: false, outcome: None }
}

impl<P: DerefMut<Target = Option<F>>, F: Future> FutureArm<P, F> {
    #[doc(hidden)]
    pub fn into_outcome(self) -> Option<F::Output> {
        self.outcome
    }

    /// Drops the future. A destructor that panics here unwinds before the other arms have given
    /// away what they got.
    #[doc(hidden)]
    pub fn discard(&mut self) {
        self.future.set(None);
    }
}

impl<P: DerefMut<Target = Option<F>>, F: Future> Steps for FutureArm<P, F> {
    fn has_gone(&self) -> bool {
        self.outcome.is_some()
    }

    fn attempt(&mut self) -> bool {
        let Some(future) = self.future.as_mut().as_pin_mut() else { return false };
        // Before the poll: a wake-up from here on is one more. Of an earlier one, the poll sees the
        // cause.
        self.bell.has_rung.swap(false, AcqRel);
        let waker = Waker::from(Arc::clone(&self.bell));
        if let Poll::Ready(output) = future.poll(&mut Context::from_waker(&waker)) {
            self.outcome = Some(output);
        }
        self.outcome.is_some()
    }

    unsafe fn enqueue(&mut self, _: &Choice, _: u32, waker: Option<&Waker>) -> bool {
        self.looks = waker.is_none();
        !self.is_due()
    }

    fn is_due(&self) -> bool {
        !self.looks && self.bell.has_rung.load(Acquire)
    }

    fn withdraw(&mut self) {}

    fn settle(&mut self) {}
}
