//! The arms of [`select!`](macro@super::super::select): what each does in the steps of the choice.

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::error::{RecvError, SendError};
use super::receiver::Receiver;
use super::sender::Sender;
use super::shared::Channel;
use super::state::{Put, Side, Taken};
use super::waiter::{Choice, Progress, Waiter};
use crate::sync::queue::{self, expired};
use crate::task::{Task, TaskError};

/// One of the operations to wait for. Only the macro makes them.
#[doc(hidden)]
pub trait Arm: sealed::Steps {}

impl<A: sealed::Steps> Arm for A {}

pub(super) mod sealed {
    use std::task::Waker;
    use std::time::Instant;

    use crate::sync::channel::waiter::Choice;

    pub trait Steps {
        /// Goes, if it can at once.
        fn attempt(&mut self) -> bool;
        /// Begins to wait. Returns false if it can go now. Without a waker, the caller only looks,
        /// and is not woken.
        ///
        /// # Safety
        ///
        /// The arm and the choice stay in place until `withdraw` was called.
        unsafe fn enqueue(&mut self, choice: &Choice, arm: u32, waker: Option<&Waker>) -> bool;
        /// Panics if it can never go while its caller waits for it alone.
        #[track_caller]
        fn refuse_endless_wait(&self) {}
        /// Returns true if it can go although no channel has won the choice for it.
        fn is_due(&self) -> bool {
            false
        }
        /// Leaves its queue, if it is in one. Drops nothing, so it does not unwind.
        fn withdraw(&mut self);
        /// Ends the wait after `withdraw`, and goes if the choice was won for it. Does nothing if
        /// it did not wait.
        fn settle(&mut self);
        /// Returns the channel's address, by which the arms are sorted.
        fn address(&self) -> usize {
            0
        }
        fn deadline(&self) -> Option<Instant> {
            None
        }
        /// Returns true if the caller is not to wait at all.
        fn only_looks(&self) -> bool {
            false
        }
        /// Goes, if its time is up.
        fn expire(&mut self) -> bool {
            false
        }
        /// Returns true if it has gone.
        fn has_gone(&self) -> bool;
    }
}

/// A waiter of one arm, and a note that it was queued since its last withdrawal.
struct Registration<'a, T> {
    channel: &'a Channel<T>,
    waiter: Waiter<T>,
    side: Side,
    is_queued: bool,
}

impl<'a, T> Registration<'a, T> {
    fn new(channel: &'a Channel<T>, side: Side) -> Registration<'a, T> {
        Registration { channel, waiter: Waiter::new(None), side, is_queued: false }
    }

    /// Enqueues the waiter, with the message of a sender. Returns false, and does nothing, if the
    /// operation would not have to wait.
    ///
    /// # Safety
    ///
    /// The same as for [`Steps::enqueue`](sealed::Steps::enqueue).
    unsafe fn enqueue(
        &mut self,
        choice: &Choice,
        arm: u32,
        waker: Option<&Waker>,
        message: &mut Option<T>,
    ) -> bool {
        self.waiter.reset();
        self.waiter.set_waker(waker.unwrap_or(Waker::noop()).clone());
        self.waiter.set_choice(choice, arm);
        let mut state = self.channel.lock();
        let must_wait = state.must_wait(self.side, self.channel.capacity(), choice);
        if must_wait {
            if let Some(message) = message.take() {
                self.waiter.set_value(message);
            }
            // SAFETY: the caller's promise.
            unsafe { state.queue(self.side).push(&self.waiter) };
            self.is_queued = true;
        }
        must_wait
    }

    /// Takes the waiter out of its queue, if it was queued.
    fn withdraw(&self) {
        if self.is_queued {
            // Always with the lock: the party that has won the choice has finished by then.
            self.channel.withdraw(&self.waiter, self.side);
        }
    }

    /// Returns the progress of a withdrawn waiter, if it was queued.
    fn settle(&mut self) -> Option<Progress> {
        std::mem::take(&mut self.is_queued).then(|| self.waiter.progress())
    }
}

/// The arm of `recv`.
#[doc(hidden)]
pub struct RecvArm<'a, T> {
    registration: Registration<'a, T>,
    outcome: Option<Result<T, RecvError>>,
}

#[doc(hidden)]
pub fn recv<T>(receiver: &Receiver<T>) -> RecvArm<'_, T> {
    RecvArm { registration: Registration::new(&receiver.channel, Side::Receiver), outcome: None }
}

impl<T> RecvArm<'_, T> {
    #[doc(hidden)]
    pub fn into_outcome(mut self) -> Option<Result<T, RecvError>> {
        self.outcome.take()
    }

    #[doc(hidden)]
    pub fn discard(&mut self) {}
}

impl<T> sealed::Steps for RecvArm<'_, T> {
    fn has_gone(&self) -> bool {
        self.outcome.is_some()
    }

    fn attempt(&mut self) -> bool {
        self.outcome = match self.registration.channel.try_take() {
            Taken::Message(message) => Some(Ok(message)),
            Taken::Closed => Some(Err(RecvError::Disconnected)),
            Taken::Empty => return false,
        };
        true
    }

    unsafe fn enqueue(&mut self, choice: &Choice, arm: u32, waker: Option<&Waker>) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.registration.enqueue(choice, arm, waker, &mut None) }
    }

    fn withdraw(&mut self) {
        self.registration.withdraw();
    }

    fn settle(&mut self) {
        match self.registration.settle() {
            Some(Progress::Granted) => self.outcome = self.registration.waiter.take_value().map(Ok),
            Some(Progress::Closed) => self.outcome = Some(Err(RecvError::Disconnected)),
            Some(Progress::Waiting) | None => {}
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self.registration.channel).addr()
    }
}

/// Puts back a message that was not asked for, as the wait was left by unwinding.
impl<T> Drop for RecvArm<'_, T> {
    fn drop(&mut self) {
        if let Some(Ok(message)) = self.outcome.take() {
            self.registration.channel.put_back(message);
        }
    }
}

/// The value that `send` sends: plain, or in an `Option`, which keeps it until it is sent.
#[doc(hidden)]
pub trait Offer<'a, T> {
    fn hold(self) -> Held<'a, T>;
}

impl<'a, T> Offer<'a, T> for T {
    fn hold(self) -> Held<'a, T> {
        Held::Value(Some(self))
    }
}

impl<'a, T> Offer<'a, T> for &'a mut Option<T> {
    fn hold(self) -> Held<'a, T> {
        Held::Slot(self)
    }
}

#[doc(hidden)]
pub enum Held<'a, T> {
    Value(Option<T>),
    Slot(&'a mut Option<T>),
}

impl<T> Held<'_, T> {
    fn slot(&mut self) -> &mut Option<T> {
        match self {
            Held::Value(value) => value,
            Held::Slot(slot) => slot,
        }
    }
}

/// The arm of `send`.
#[doc(hidden)]
pub struct SendArm<'a, T> {
    registration: Registration<'a, T>,
    held: Held<'a, T>,
    outcome: Option<Result<(), SendError<T>>>,
}

#[doc(hidden)]
pub fn send<'a, T>(sender: &'a Sender<T>, value: impl Offer<'a, T>) -> SendArm<'a, T> {
    let registration = Registration::new(&sender.channel, Side::Sender);
    SendArm { registration, held: value.hold(), outcome: None }
}

impl<T> SendArm<'_, T> {
    #[doc(hidden)]
    pub fn into_outcome(self) -> Option<Result<(), SendError<T>>> {
        self.outcome
    }

    /// Drops the value if it is not to be sent any more. A destructor that panics here unwinds
    /// before the other arms have given away what they got.
    #[doc(hidden)]
    pub fn discard(&mut self) {
        if let Held::Value(value) = &mut self.held {
            drop(value.take());
        }
    }
}

impl<T> sealed::Steps for SendArm<'_, T> {
    fn has_gone(&self) -> bool {
        self.outcome.is_some()
    }

    fn attempt(&mut self) -> bool {
        let Some(value) = self.held.slot().take() else { return false };
        self.outcome = match self.registration.channel.try_put(value) {
            Put::Sent => Some(Ok(())),
            Put::Closed(value) => Some(Err(SendError::Disconnected(value))),
            Put::Full(value) => {
                *self.held.slot() = Some(value);
                return false;
            }
        };
        true
    }

    unsafe fn enqueue(&mut self, choice: &Choice, arm: u32, waker: Option<&Waker>) -> bool {
        let slot = self.held.slot();
        // SAFETY: the caller's promise.
        slot.is_none() || unsafe { self.registration.enqueue(choice, arm, waker, slot) }
    }

    fn withdraw(&mut self) {
        self.registration.withdraw();
    }

    fn settle(&mut self) {
        let Some(progress) = self.registration.settle() else { return };
        let value = self.registration.waiter.take_value();
        match progress {
            Progress::Granted => self.outcome = Some(Ok(())),
            Progress::Closed => {
                self.outcome = value.map(|value| Err(SendError::Disconnected(value)));
            }
            Progress::Waiting => *self.held.slot() = value,
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self.registration.channel).addr()
    }
}

/// The arm of `join`.
#[doc(hidden)]
pub struct JoinArm<'a, T> {
    task: &'a mut Task<T>,
    outcome: Option<Result<T, TaskError>>,
}

#[doc(hidden)]
pub fn join<T>(task: &mut Task<T>) -> JoinArm<'_, T> {
    JoinArm { task, outcome: None }
}

impl<T> JoinArm<'_, T> {
    #[doc(hidden)]
    pub fn into_outcome(self) -> Option<Result<T, TaskError>> {
        self.outcome
    }

    #[doc(hidden)]
    pub fn discard(&mut self) {}
}

impl<T> sealed::Steps for JoinArm<'_, T> {
    fn has_gone(&self) -> bool {
        self.outcome.is_some()
    }

    fn attempt(&mut self) -> bool {
        if self.task.look() {
            let task = std::pin::Pin::new(&mut *self.task);
            if let Poll::Ready(outcome) = task.poll(&mut Context::from_waker(Waker::noop())) {
                self.outcome = Some(outcome);
            }
        }
        self.outcome.is_some()
    }

    unsafe fn enqueue(&mut self, _: &Choice, _: u32, waker: Option<&Waker>) -> bool {
        match waker {
            Some(waker) => !self.task.register(waker),
            // A waker that an earlier `poll` has left stays with the task.
            None => !self.task.look(),
        }
    }

    #[track_caller]
    fn refuse_endless_wait(&self) {
        self.task.refuse_endless_join();
    }

    fn is_due(&self) -> bool {
        self.task.has_ended()
    }

    /// Does nothing: the waker stays with the task until its next wait, or its end. That is a
    /// spurious wake-up.
    fn withdraw(&mut self) {}

    fn settle(&mut self) {}
}

/// The arm of `timeout`.
#[doc(hidden)]
pub struct TimeoutArm {
    /// `None`: beyond the clock's range.
    deadline: Option<Instant>,
    only_looks: bool,
    outcome: Option<()>,
}

#[doc(hidden)]
pub fn timeout(duration: Duration) -> TimeoutArm {
    let deadline = queue::deadline(duration);
    TimeoutArm { deadline, only_looks: duration.is_zero(), outcome: None }
}

impl TimeoutArm {
    #[doc(hidden)]
    pub fn into_outcome(self) -> Option<()> {
        self.outcome
    }

    #[doc(hidden)]
    pub fn discard(&mut self) {}
}

impl sealed::Steps for TimeoutArm {
    fn has_gone(&self) -> bool {
        self.outcome.is_some()
    }

    fn attempt(&mut self) -> bool {
        false
    }

    unsafe fn enqueue(&mut self, _: &Choice, _: u32, _: Option<&Waker>) -> bool {
        true
    }

    fn withdraw(&mut self) {}

    fn settle(&mut self) {}

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn only_looks(&self) -> bool {
        self.only_looks
    }

    fn expire(&mut self) -> bool {
        let is_over = expired(self.deadline);
        self.outcome = is_over.then_some(());
        is_over
    }
}
