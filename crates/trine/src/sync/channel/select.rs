//! The implementation of [`select!`](macro@super::super::select): the first of several operations.
//!
//! ```text
//!   1  try each arm, beginning anywhere; an arm that can go, goes
//!   2  enqueue a waiter in each arm's channel, all of one `Choice`; if an arm could go now: back
//!      to 1
//!   3  wait until an arm was granted (its channel has won the choice for it), a task has ended or
//!      the time is up
//!   4  withdraw all waiters; those that lost were given nothing
//! ```
//!
//! An arm is granted like any other waiter, with its message. So it need not try again, and nothing
//! can be lost between a wake-up and the try. Step 2 visits all channels in the order of their
//! addresses. Of two `select!`s that could meet, the second to reach the first channel that they
//! share sees the other there, and goes back alone.

use std::cell::Cell;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::error::{RecvError, SendError};
use super::shared::Channel;
use super::state::{Put, Side, Taken};
use super::waiter::{Choice, OPEN, Progress, Waiter};
use super::{Receiver, Sender};
use crate::sync::atomic::thread_local;
use crate::sync::queue::{self, expired};
use crate::task::{Task, TaskError, park, wait};

/// No arm has won, and none will: some arm may go now, or the time is up, or the wait was left.
const NONE: u32 = OPEN - 1;

/// One of the operations to wait for. Only the macro makes them.
#[doc(hidden)]
pub trait Arm: sealed::Steps {}

impl<A: sealed::Steps> Arm for A {}

mod sealed {
    use super::{Choice, Instant, Waker};

    pub trait Steps {
        /// Goes, if it can at once.
        fn attempt(&mut self) -> bool;
        /// Begins to wait. Returns false if it can go now.
        ///
        /// # Safety
        ///
        /// The arm and the choice stay in place until `withdraw` was called.
        unsafe fn enqueue(&mut self, choice: &Choice, arm: u32, waker: &Waker) -> bool;
        /// Returns true if it can go although no channel has won the choice for it.
        fn is_due(&self) -> bool {
            false
        }
        /// Ends the wait, and goes if the choice was won for it. Does nothing if it did not wait.
        fn withdraw(&mut self);
        /// Returns the channel's address, by which the arms are sorted.
        fn address(&self) -> usize {
            0
        }
        fn deadline(&self) -> Option<Instant> {
            None
        }
        /// Goes, if its time is up.
        fn expire(&mut self) -> bool {
            false
        }
    }
}

/// Lets one of the arms go, and waits for it if `wait` is true.
#[doc(hidden)]
pub fn choose<const N: usize>(mut arms: [&mut dyn Arm; N], wait: bool) {
    if attempt_any(&mut arms) || !wait || (park::pass() && attempt_any(&mut arms)) {
        return;
    }
    arms.sort_unstable_by_key(|arm| arm.address());
    let deadline = arms.iter().filter_map(|arm| arm.deadline()).min();
    let waker = park::waker();
    while !wait_once(&mut arms, deadline, &waker) {
        // The time is checked after a wait only: the others have had their turn then.
        if attempt_any(&mut arms) || arms.iter_mut().any(|arm| arm.expire()) {
            return;
        }
    }
}

/// Tries each arm once, beginning anywhere, so that none is preferred.
fn attempt_any(arms: &mut [&mut dyn Arm]) -> bool {
    let begin = anywhere(arms.len());
    let (before, after) = arms.split_at_mut(begin);
    after.iter_mut().chain(before).any(|arm| arm.attempt())
}

/// Waits until one arm has gone. Returns false if some arm may be able to go now.
fn wait_once(arms: &mut [&mut dyn Arm], deadline: Option<Instant>, waker: &Waker) -> bool {
    let choice = Choice::new();
    let waiting = Waiting { arms, choice: &choice };
    for (number, arm) in (0..).zip(waiting.arms.iter_mut()) {
        // SAFETY: `Waiting` withdraws the arms before this frame, with the choice, is left, and
        // before the borrow of the arms ends.
        if !unsafe { arm.enqueue(&choice, number, waker) } {
            return waiting.end();
        }
    }
    // At least once, also when the time is up: only during a wait can others grant an arm. Two
    // `select!`s that never wait would otherwise never meet.
    while choice.winner() == OPEN && !waiting.arms.iter().any(|arm| arm.is_due()) {
        wait::or_unwind(deadline);
        if expired(deadline) {
            break;
        }
    }
    waiting.end()
}

/// Arms that wait. Withdrawn when dropped, also by unwinding.
struct Waiting<'a, 'b> {
    arms: &'a mut [&'b mut dyn Arm],
    choice: &'a Choice,
}

impl Waiting<'_, '_> {
    /// Ends the wait. Returns true if an arm was granted.
    fn end(self) -> bool {
        let choice = self.choice;
        drop(self);
        choice.winner() != NONE
    }
}

impl Drop for Waiting<'_, '_> {
    fn drop(&mut self) {
        // From here on no channel grants an arm; a grant may have come before.
        let _ = self.choice.win(NONE);
        for arm in self.arms.iter_mut() {
            arm.withdraw();
        }
    }
}

/// Returns a number below `bound`, of a sequence of the thread's own: a linear congruential
/// generator with the constants of PCG, O'Neill 2014.
fn anywhere(bound: usize) -> usize {
    thread_local! {
        static SEED: Cell<u32> = const { Cell::new(0x9e37_79b9) };
    }
    SEED.with(|seed| {
        let next = seed.get().wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        seed.set(next);
        (next >> 16) as usize % bound
    })
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
        waker: &Waker,
        message: &mut Option<T>,
    ) -> bool {
        self.waiter.set_waker(waker.clone());
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

    /// Withdraws the waiter. Returns its progress, if it was queued.
    fn withdraw(&mut self) -> Option<Progress> {
        std::mem::take(&mut self.is_queued).then(|| {
            // Always with the lock: the party that has won the choice has finished by then.
            self.channel.withdraw(&self.waiter, self.side);
            self.waiter.progress()
        })
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
}

impl<T> sealed::Steps for RecvArm<'_, T> {
    fn attempt(&mut self) -> bool {
        self.outcome = match self.registration.channel.try_take() {
            Taken::Message(message) => Some(Ok(message)),
            Taken::Closed => Some(Err(RecvError::Disconnected)),
            Taken::Empty => return false,
        };
        true
    }

    unsafe fn enqueue(&mut self, choice: &Choice, arm: u32, waker: &Waker) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.registration.enqueue(choice, arm, waker, &mut None) }
    }

    fn withdraw(&mut self) {
        match self.registration.withdraw() {
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
}

impl<T> sealed::Steps for SendArm<'_, T> {
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

    unsafe fn enqueue(&mut self, choice: &Choice, arm: u32, waker: &Waker) -> bool {
        let slot = self.held.slot();
        // SAFETY: the caller's promise.
        slot.is_none() || unsafe { self.registration.enqueue(choice, arm, waker, slot) }
    }

    fn withdraw(&mut self) {
        let Some(progress) = self.registration.withdraw() else { return };
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
}

impl<T> sealed::Steps for JoinArm<'_, T> {
    fn attempt(&mut self) -> bool {
        if self.task.is_finished() {
            let task = std::pin::Pin::new(&mut *self.task);
            if let Poll::Ready(outcome) = task.poll(&mut Context::from_waker(Waker::noop())) {
                self.outcome = Some(outcome);
            }
        }
        self.outcome.is_some()
    }

    unsafe fn enqueue(&mut self, _: &Choice, _: u32, waker: &Waker) -> bool {
        !self.task.register(waker)
    }

    fn is_due(&self) -> bool {
        self.task.is_finished()
    }

    /// The waker stays with the task until its next wait, or its end: a spurious wake-up.
    fn withdraw(&mut self) {}
}

/// The arm of `timeout`.
#[doc(hidden)]
pub struct TimeoutArm {
    /// `None`: beyond the clock's range.
    deadline: Option<Instant>,
    outcome: Option<()>,
}

#[doc(hidden)]
pub fn timeout(duration: Duration) -> TimeoutArm {
    TimeoutArm { deadline: queue::deadline(duration), outcome: None }
}

impl TimeoutArm {
    #[doc(hidden)]
    pub fn into_outcome(self) -> Option<()> {
        self.outcome
    }
}

impl sealed::Steps for TimeoutArm {
    fn attempt(&mut self) -> bool {
        false
    }

    unsafe fn enqueue(&mut self, _: &Choice, _: u32, _: &Waker) -> bool {
        true
    }

    fn withdraw(&mut self) {}

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn expire(&mut self) -> bool {
        let is_over = expired(self.deadline);
        self.outcome = is_over.then_some(());
        is_over
    }
}
