//! Stand-ins for the parts of `crate::task` that the library's files use.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// The error of a wait that was ended from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// A task, of which no model has one.
pub struct Task<T>(Infallible, PhantomData<fn() -> T>);

#[derive(Debug)]
pub struct TaskError(Infallible);

impl<T> Task<T> {
    pub(crate) fn has_ended(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn register(&self, _: &Waker) -> bool {
        match self.0 {}
    }

    pub(crate) fn look(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn refuse_endless_join(&self) {
        match self.0 {}
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0 {}
    }
}

/// The causes of a failure that cross between processes.
#[allow(dead_code, reason = "no task of a model fails")]
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    Panicked { message: String, location: Option<SourceLocation>, backtrace: Backtrace },
    Codec { stage: CodecStage, message: String },
    Cancelled { reason: Option<std::sync::Arc<str>> },
    TimedOut,
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct SourceLocation;

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Backtrace;

impl Backtrace {
    pub(crate) fn bounded(self) -> Backtrace {
        self
    }
}

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct CodecStage;

pub(crate) struct Printed;

/// Waiting: a token for each thread of a model.
pub(crate) mod park {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::task::{Wake, Waker};

    use super::Interrupted;

    struct Token(loom::sync::Notify);

    impl Wake for Token {
        fn wake(self: Arc<Self>) {
            self.0.notify();
        }
    }

    loom::thread_local! {
        static TOKEN: Arc<Token> = Arc::new(Token(loom::sync::Notify::new()));
        static INTERRUPTED: Cell<bool> = Cell::new(false);
        static CARRIED: Cell<bool> = Cell::new(false);
    }

    pub(crate) fn waker() -> Waker {
        TOKEN.with(|token| Waker::from(Arc::clone(token)))
    }

    pub(crate) fn wake(waker: Waker) {
        waker.wake();
    }

    pub(crate) fn wake_by_ref(waker: &Waker) {
        waker.wake_by_ref();
    }

    pub(crate) fn discard(waker: Option<Waker>) {
        drop(waker);
    }

    /// Runs `f`, whose waits are interrupted at any point that the other threads have reached.
    /// Returns `None` if a wait that cannot fail has unwound `f`.
    pub(crate) fn interrupted<T>(f: impl FnOnce() -> T) -> Option<T> {
        INTERRUPTED.with(|interrupted| interrupted.set(true));
        let result = catch_unwind(AssertUnwindSafe(f));
        INTERRUPTED.with(|interrupted| interrupted.set(false));
        result.map_err(|payload| payload.downcast::<Interrupted>().expect("no other panic")).ok()
    }

    /// Returns true if the caller's waits are interrupted.
    pub(super) fn is_interrupted() -> bool {
        INTERRUPTED.with(Cell::get)
    }

    /// Waits for a wake-up.
    pub(crate) fn rest() {
        TOKEN.with(|token| token.0.wait());
    }

    /// Makes the caller wait as a coroutine from here on.
    pub(crate) fn be_carried() {
        CARRIED.with(|carried| carried.set(true));
    }

    pub(crate) fn is_plain_thread() -> bool {
        !CARRIED.with(Cell::get)
    }
}

/// Turns, of which a thread has none to give.
pub(crate) mod budget {
    use std::task::Waker;

    pub(crate) fn spend() {}

    pub(crate) fn spend_in_poll(_: &Waker) -> bool {
        false
    }
}

pub(crate) mod spin {
    /// A spin that probes nothing: it would only repeat a look that the model takes.
    pub(crate) struct AdaptiveSpin<const LEAST: u32, const MOST: u32>;

    impl<const LEAST: u32, const MOST: u32> AdaptiveSpin<LEAST, MOST> {
        pub(crate) const fn new() -> AdaptiveSpin<LEAST, MOST> {
            AdaptiveSpin
        }

        pub(crate) fn yield_until(&self, _: impl Fn() -> bool) {}
    }
}

/// Waits that a model can interrupt.
pub(crate) mod wait {
    use std::panic::resume_unwind;
    use std::time::Instant;

    use super::{Interrupted, park};
    use crate::sys::futex::{self, Word};

    /// Returns false: a thread has no coroutines to let pass.
    pub(crate) fn pass() -> bool {
        false
    }

    /// Waits for a wake-up; may return early. A deadline is always over.
    pub(crate) fn for_wake(deadline: Option<Instant>) -> Result<(), Interrupted> {
        if park::is_interrupted() {
            return Err(Interrupted);
        }
        if deadline.is_none() {
            park::rest();
        }
        Ok(())
    }

    /// Returns false: no model waits for itself.
    pub(crate) fn has_limit() -> bool {
        false
    }

    /// Waits as [`for_wake`] does, also for a word that other processes see.
    pub(crate) fn for_word(
        word: &impl Word,
        expected: u32,
        deadline: Option<Instant>,
    ) -> Result<(), Interrupted> {
        if park::is_interrupted() {
            return Err(Interrupted);
        }
        if deadline.is_none() {
            futex::wait(word, expected);
        }
        Ok(())
    }

    /// Waits as [`for_wake`] does, for waits that cannot fail.
    pub(crate) fn or_unwind(deadline: Option<Instant>) {
        or_unwind_unless(deadline, || false);
    }

    /// Waits as [`or_unwind`] does, unless `is_over` returns true after an interruption.
    pub(crate) fn or_unwind_unless(deadline: Option<Instant>, is_over: impl Fn() -> bool) {
        if let Err(interrupted) = for_wake(deadline)
            && !is_over()
        {
            resume_unwind(Box::new(interrupted));
        }
    }
}

/// The identity of the caller.
pub(crate) mod registry {
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    /// Not an address, which a later thread of the model would use again. Loom does not see it.
    static NEXT: AtomicU64 = AtomicU64::new(1);

    loom::thread_local! {
        static HERE: u64 = NEXT.fetch_add(1, Relaxed);
    }

    pub(crate) fn caller() -> u64 {
        HERE.with(|here| *here)
    }
}
