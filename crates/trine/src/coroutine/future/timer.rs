//! A future's wait for a moment: the timer under [`future::sleep`](crate::future::sleep) and the
//! like.

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::coroutine::carrier::{self, Carrier, run};
use crate::coroutine::remote::Remote;
use crate::coroutine::timers::slab::Key;
use crate::sys::process::fork_detect;

/// A future's wait for a moment.
pub(crate) struct Timer {
    /// The moment; `None` is never.
    at: Option<Instant>,
    /// The carrier that keeps the timer, from the first poll that had to wait.
    set: Option<(&'static Remote, Key)>,
}

impl Timer {
    /// Makes a timer for `deadline`; without one it is never due.
    pub(crate) fn new(deadline: Option<Instant>) -> Timer {
        Timer { at: deadline, set: None }
    }

    /// Ready if the moment has come; else the waker is woken then.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        if Instant::now() >= at {
            self.cancel();
            return Poll::Ready(());
        }
        match self.set {
            Some((carrier, key)) => match carrier.timers.set_waker(key, context.waker()) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            },
            None => {
                self.set(at, context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Sets the timer at the caller's carrier, or else at the first carrier.
    ///
    /// The carrier that a thread has for its local coroutines does not count: it looks at no timer
    /// while the thread does not wait.
    fn set(&mut self, at: Instant, waker: Waker) {
        let here = carrier::current().filter(|carrier| carrier.has_own_thread());
        let here = here.map(Carrier::remote);
        let home = here.or_else(|| run::scheduler().first());
        let home = home.unwrap_or_else(|| {
            if fork_detect::lacks_threads() {
                panic!("{}", fork_detect::explain("threads that keep the time exist"));
            }
            panic!("a thread that keeps the time could not be started")
        });
        let (key, first) = home.timers.insert(at, waker);
        self.set = Some((home, key));
        if first && here.is_none() {
            home.notify();
        }
    }

    fn cancel(&mut self) {
        if let Some((carrier, key)) = self.set.take() {
            carrier.timers.cancel(key);
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel();
    }
}
