//! The choice among arms that can all go on.

use trine::coroutine;
use trine::sync::channel::{self, Receiver};
use trine::sync::select;

use crate::common::waiting::until_waiting;

/// The number of choices of a test, between two arms.
const CHOICES: u32 = 10_000;

/// Fails if `count` of [`CHOICES`] is far from half of them: ten times the deviation that is to be
/// expected, which is half of the root.
fn is_about_half(count: u32) {
    let off = count.abs_diff(CHOICES / 2);
    assert!(off < 10 * CHOICES.isqrt() / 2, "{count} of {CHOICES}");
}

/// Makes a channel with `count` messages in it. The sender is never dropped.
fn filled(count: u32) -> Receiver<()> {
    let (sender, receiver) = channel::unbounded();
    (0..count).for_each(|_| sender.send(()).unwrap());
    std::mem::forget(sender);
    receiver
}

#[test]
fn two_ready_arms_behind_two_that_never_are_get_half_each() {
    let (never, nor_this) = (filled(0), filled(0));
    let (first, second) = (filled(CHOICES), filled(CHOICES));
    let mut of_first = 0;
    for _ in 0..CHOICES {
        select! {
            recv(never) -> _ => unreachable!(),
            recv(nor_this) -> _ => unreachable!(),
            recv(first) -> _ => of_first += 1,
            recv(second) -> _ => {}
        }
    }
    is_about_half(of_first);
}

#[test]
fn two_ready_arms_beside_a_default_get_half_each() {
    let (never, first, second) = (filled(0), filled(CHOICES), filled(CHOICES));
    let mut of_first = 0;
    for _ in 0..CHOICES {
        select! {
            recv(first) -> _ => of_first += 1,
            recv(never) -> _ => unreachable!(),
            recv(second) -> _ => {}
            default => unreachable!(),
        }
    }
    is_about_half(of_first);
}

#[test]
fn two_arms_that_wait_at_one_rendezvous_get_half_each() {
    let (sender, receiver) = channel::rendezvous();
    let mut of_second = 0;
    for _ in 0..CHOICES {
        let sender = sender.clone();
        let task = coroutine::spawn(move || {
            select! {
                send(sender, 0) -> sent => sent.unwrap(),
                send(sender, 1) -> sent => sent.unwrap(),
            }
        });
        until_waiting(&task);
        of_second += receiver.recv().unwrap();
        task.join().unwrap();
    }
    is_about_half(of_second);
}

#[test]
fn a_message_that_moves_from_one_channel_to_another_is_never_missed_by_both_arms() {
    const ROUNDS: usize = 20_000;
    let ((start, started), (end, ended)) = (channel::rendezvous(), channel::rendezvous());
    let ((a, from_a), (b, from_b)) = (channel::bounded(1), channel::bounded(1));
    let (also_from_a, also_from_b) = (from_a.clone(), from_b.clone());
    let other = trine::thread::spawn(move || {
        while started.recv().is_ok() {
            b.send(2).unwrap();
            let _ = also_from_a.try_recv();
            ended.recv().unwrap();
        }
    });
    for _ in 0..ROUNDS {
        start.send(()).unwrap();
        a.send(1).unwrap();
        select! {
            recv(from_a) -> _ => {}
            recv(from_b) -> _ => {}
            default => panic!("at each moment a message was in one of them"),
        }
        end.send(()).unwrap();
        let _ = (from_a.try_recv(), also_from_b.try_recv());
    }
    drop(start);
    other.join().unwrap();
}

#[test]
fn an_arm_that_was_granted_runs_though_the_task_is_cancelled_before_its_turn() {
    use std::cell::Cell;
    use std::rc::Rc;
    use trine::coroutine::{spawn_local, yield_now};

    // The local coroutine has no turn between the grant and the cancellation.
    let got = Rc::new(Cell::new(None));
    let inside = Rc::clone(&got);
    let (tx, rx) = channel::bounded::<u32>(0);
    let (_never, other) = channel::bounded::<u32>(1);
    let task = spawn_local(move || {
        select! {
            recv(rx) -> message => inside.set(message.ok()),
            recv(other) -> _ => unreachable!("nothing is sent"),
        }
        trine::time::sleep(std::time::Duration::MAX);
    });
    while tx.try_send(7).is_err() {
        yield_now();
    }
    task.cancel();
    assert!(task.join().unwrap_err().is_cancelled(), "the next wait is interrupted");
    assert_eq!(got.get(), Some(7));
}
