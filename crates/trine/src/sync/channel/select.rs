//! The choice of [`select!`](macro@super::super::select) among its [arms](super::arms).
//!
//! ```text
//!   1  try the arms, in a random order or as given; an arm that can go, goes
//!   2  enqueue a waiter in each arm's channel, all of one `Choice`; if an arm could go now: back
//!      to 1
//!   3  wait until an arm was granted (its channel has won the choice for it), a task has ended or
//!      the time is up; with `default`, do not wait
//!   4  withdraw all waiters; those that lost were given nothing
//! ```
//!
//! With `default`, the tries alone are not enough: they look at one channel after the other, and
//! another party may move the only message from a channel not yet looked at to a channel already
//! left. If all waiters were enqueued and none was granted, no arm could go at that moment.
//!
//! An arm is granted like any other waiter, with its message. So it need not try again, and nothing
//! can be lost between a wake-up and the try. Step 2 visits all channels in the order of their
//! addresses. Of two `select!`s that could meet, the second to reach the first channel that they
//! share sees the other there, and goes back alone.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::task::Waker;
use std::time::Instant;

use super::arms::Arm;
use super::waiter::{Choice, OPEN};
use crate::sync::atomic::thread_local;
use crate::sync::queue::expired;
use crate::task::{budget, park, wait};

/// No arm has won, and none will: some arm may go now, or the time is up, or the wait was left.
const NONE: u32 = OPEN - 1;

/// Lets one of the arms go, and waits for it if `wait` is true. Of several that can go, each is as
/// likely as the others.
#[doc(hidden)]
#[track_caller]
pub fn choose<const N: usize>(arms: [&mut dyn Arm; N], wait: bool) {
    choose_in(Order::Random, &mut numbered(arms), wait);
}

/// Lets one of the arms go like [`choose`]; of several that can go, the first.
#[doc(hidden)]
#[track_caller]
pub fn choose_first<const N: usize>(arms: [&mut dyn Arm; N], wait: bool) {
    choose_in(Order::Given, &mut numbered(arms), wait);
}

/// Numbers arms in their order.
pub(super) fn number<'a>(
    arms: impl Iterator<Item = &'a mut dyn Arm>,
) -> impl Iterator<Item = Numbered<'a>> {
    arms.enumerate().map(|(number, arm)| Numbered { number, arm })
}

fn numbered<const N: usize>(arms: [&mut dyn Arm; N]) -> [Numbered<'_>; N] {
    let mut number = 0;
    arms.map(|arm| {
        number += 1;
        Numbered { number, arm }
    })
}

/// An arm, with its place in the program's text.
pub(super) struct Numbered<'a> {
    number: usize,
    arm: &'a mut dyn Arm,
}

impl<'a> Deref for Numbered<'a> {
    type Target = dyn Arm + 'a;

    fn deref(&self) -> &(dyn Arm + 'a) {
        self.arm
    }
}

impl<'a> DerefMut for Numbered<'a> {
    fn deref_mut(&mut self) -> &mut (dyn Arm + 'a) {
        self.arm
    }
}

/// The order of the attempts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Random,
    Given,
}

#[track_caller]
pub(super) fn choose_in(order: Order, arms: &mut [Numbered<'_>], wait: bool) {
    budget::spend();
    if attempt_any(order, arms) {
        return;
    }
    if wait && !arms.iter().any(|arm| arm.only_looks()) {
        if let [arm] = &*arms {
            arm.refuse_endless_wait();
        }
        wait_for_any(order, arms);
    } else {
        let has_gone = arms.len() > 1 && goes_at_some_moment(order, arms);
        // Without `default`, the time of an arm is up.
        let _ = has_gone || wait && arms.iter_mut().any(|arm| arm.expire());
    }
}

/// Returns true once an arm has gone, and false once there was a moment at which none could.
fn goes_at_some_moment(order: Order, arms: &mut [Numbered<'_>]) -> bool {
    loop {
        match decide(arms) {
            Some(has_gone) => return has_gone,
            None if attempt_any(order, arms) => return true,
            None => {}
        }
    }
}

/// Tries each arm once. In a random order all that can go are equally likely.
fn attempt_any(order: Order, arms: &mut [Numbered<'_>]) -> bool {
    if let Order::Given = order {
        // A wait has sorted them by address.
        arms.sort_by_key(|arm| arm.number);
        return arms.iter_mut().any(|arm| arm.attempt());
    }
    (1..=arms.len()).rev().any(|left| {
        arms.swap(anywhere(left), left - 1);
        arms[left - 1].attempt()
    })
}

/// Waits until one of the arms has gone.
fn wait_for_any(order: Order, arms: &mut [Numbered<'_>]) {
    if wait::pass() && attempt_any(order, arms) {
        return;
    }
    let deadline = arms.iter().filter_map(|arm| arm.deadline()).min();
    let waker = park::waker();
    while !wait_once(arms, deadline, &waker) {
        // The time is checked after a wait only: the others have had their turn then.
        if attempt_any(order, arms) || arms.iter_mut().any(|arm| arm.expire()) {
            return;
        }
    }
}

/// Waits until one arm has gone. Returns false if some arm may be able to go now.
fn wait_once(arms: &mut [Numbered<'_>], deadline: Option<Instant>, waker: &Waker) -> bool {
    let choice = Choice::new();
    let mut waiting = Waiting { arms, choice: &choice };
    // SAFETY: `waiting` is dropped in this frame, before `choice`.
    if unsafe { waiting.enqueue(Some(waker)) } {
        // At least once, also when the time is up: only during a wait can others grant an arm. Two
        // `select!`s that never wait would otherwise never meet.
        while choice.winner() == OPEN && !waiting.is_due() {
            // An arm that was granted has gone, and is not interrupted.
            wait::or_unwind_unless(deadline, || !choice.win(NONE));
            if expired(deadline) {
                break;
            }
        }
    }
    waiting.end()
}

/// Returns true if one arm has gone, and false if there was a moment at which none could. `None` if
/// some arm may be able to go now.
fn decide(arms: &mut [Numbered<'_>]) -> Option<bool> {
    let choice = Choice::new();
    let mut waiting = Waiting { arms, choice: &choice };
    // SAFETY: `waiting` is dropped in this frame, before `choice`.
    let all_wait = unsafe { waiting.enqueue(None) };
    // The moment is this look at the tasks. From before it to the end, a partner that comes to one
    // of the channels grants an arm. A task that has not ended had not ended before either.
    let none_can_go = all_wait && !waiting.is_due();
    if waiting.end() { Some(true) } else { none_can_go.then_some(false) }
}

/// Arms that wait. Withdrawn when dropped, also by unwinding.
struct Waiting<'a, 'b> {
    arms: &'a mut [Numbered<'b>],
    choice: &'a Choice,
}

impl Waiting<'_, '_> {
    /// Begins the wait of all arms. Returns false if some arm can go now. Without a waker, the
    /// caller only looks.
    ///
    /// # Safety
    ///
    /// `self` is dropped before the choice is moved or dropped.
    unsafe fn enqueue(&mut self, waker: Option<&Waker>) -> bool {
        // Stable: arms of one channel keep the random order of the attempts, and a partner takes
        // the first of them.
        self.arms.sort_by_key(|arm| arm.address());
        let choice = self.choice;
        // SAFETY: `self` borrows the arms, and withdraws them when it is dropped; for the choice,
        // the caller's promise.
        (0..).zip(self.arms.iter_mut()).all(|(nth, arm)| unsafe { arm.enqueue(choice, nth, waker) })
    }

    /// Returns true if an arm can go although no channel has won the choice for it.
    fn is_due(&self) -> bool {
        self.arms.iter().any(|arm| arm.is_due())
    }

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
        // Only now that no queue leads here any more: this may drop a value, and a destructor may
        // panic.
        for arm in self.arms.iter_mut() {
            arm.settle();
        }
    }
}

/// Returns a number below `bound`, of a sequence of the thread's own: the upper half of a linear
/// congruential generator with the constants of PCG, O'Neill 2014.
fn anywhere(bound: usize) -> usize {
    const FACTOR: u64 = 6_364_136_223_846_793_005;
    const SUMMAND: u64 = 1_442_695_040_888_963_407;
    thread_local! {
        static SEED: Cell<u64> = const { Cell::new(0x9e37_79b9_7f4a_7c15) };
    }
    SEED.with(|seed| {
        let next = seed.get().wrapping_mul(FACTOR).wrapping_add(SUMMAND);
        seed.set(next);
        // A number of 32 bits, as a fraction of its range, times the bound.
        ((next >> 32).wrapping_mul(bound as u64) >> 32) as usize
    })
}
