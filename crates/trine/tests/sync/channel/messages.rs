//! Every message arrives, once and in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use trine::sync::channel::{self, RecvError, SendError, TryRecvError, TrySendError};
use trine::{Task, coroutine};

use crate::common::places::spawn_nth;

use super::flavours;
use crate::common::waiting::until;

#[test]
fn every_message_arrives_once_and_those_of_one_sender_in_order() {
    const EACH: usize = 500;
    for (senders, receivers) in [(1, 1), (1, 4), (4, 1), (4, 4)] {
        // All coroutines, all threads, or in turn.
        for (step, offset) in [(2, 0), (2, 1), (1, 0)] {
            for (flavour, (sender, receiver)) in flavours::<(usize, usize)>() {
                let sending: Vec<_> = (0..senders)
                    .map(|who| {
                        let sender = sender.clone();
                        spawn_nth(who * step + offset, move || {
                            for n in 0..EACH {
                                sender.send((who, n)).unwrap();
                            }
                        })
                    })
                    .collect();
                let receiving: Vec<Task<Vec<_>>> = (0..receivers)
                    .map(|who| {
                        let receiver = receiver.clone();
                        spawn_nth(who * step + offset, move || receiver.into_iter().collect())
                    })
                    .collect();
                drop((sender, receiver));
                sending.into_iter().for_each(|task| task.join().unwrap());
                let mut seen = HashMap::new();
                for task in receiving {
                    let got = task.join().unwrap();
                    let mut last = HashMap::new();
                    for (who, n) in got {
                        let before = last.insert(who, n);
                        assert!(before < Some(n), "{flavour}: {n} of {who} after {before:?}");
                        *seen.entry((who, n)).or_insert(0) += 1;
                    }
                }
                assert_eq!(seen.len(), senders * EACH, "{flavour}");
                assert!(seen.values().all(|times| *times == 1), "{flavour}");
            }
        }
    }
}

#[test]
fn main_takes_part_like_any_other() {
    let (sender, receiver) = channel::bounded(1);
    let (back, answers) = channel::rendezvous();
    let task = coroutine::spawn(move || {
        for n in &receiver {
            back.send(n * 2).unwrap();
        }
    });
    for n in 0..1000 {
        sender.send(n).unwrap();
        assert_eq!(answers.recv(), Ok(n * 2));
    }
    drop(sender);
    task.join().unwrap();
    assert_eq!(answers.recv(), Err(RecvError::Disconnected));
}

#[test]
fn what_cannot_be_done_at_once_says_so() {
    let (sender, receiver) = channel::bounded(1);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!((receiver.is_empty(), receiver.is_full(), receiver.len()), (true, false, 0));
    assert_eq!(sender.try_send(1), Ok(()));
    assert_eq!((sender.is_empty(), sender.is_full(), sender.len()), (false, true, 1));
    assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
    assert_eq!(receiver.try_recv(), Ok(1));
    assert_eq!(sender.try_send(3), Ok(()));
    drop(sender);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [3]);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
    assert_eq!(receiver.recv(), Err(RecvError::Disconnected));

    let (sender, receiver) = channel::unbounded();
    assert_eq!((sender.capacity(), sender.is_full()), (None, false));
    drop(receiver);
    assert_eq!(sender.try_send(4), Err(TrySendError::Disconnected(4)));
    assert_eq!(sender.send(5), Err(SendError::Disconnected(5)));

    let (sender, receiver) = channel::bounded(0);
    assert_eq!((sender.capacity(), sender.is_full(), sender.is_empty()), (Some(0), true, true));
    assert_eq!(sender.try_send(6), Err(TrySendError::Full(6)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(format!("{sender:?}"), "Sender { len: 0, capacity: 0, .. }");
}

#[test]
fn a_rendezvous_is_over_when_the_value_was_taken() {
    for nth in 0..2 {
        let (sender, receiver) = channel::rendezvous();
        let taken = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&taken);
        let task = spawn_nth(nth, move || {
            for n in 1..=500 {
                // A waiting receiver gets the value directly, so it may not have run yet. But it
                // has asked for this value after it counted the one before.
                sender.send(n).unwrap();
                assert!(seen.load(SeqCst) >= n - 1);
            }
        });
        for n in receiver {
            taken.store(n, SeqCst);
        }
        task.join().unwrap();
    }
}

#[test]
fn those_that_wait_are_served_in_turn() {
    let (sender, receiver) = channel::rendezvous();
    let mut tasks = Vec::new();
    for n in 0..10 {
        let sender = sender.clone();
        let task = coroutine::spawn(move || sender.send(n).unwrap());
        until(|| task.state() == trine::State::Waiting);
        tasks.push(task);
    }
    drop(sender);
    assert!(receiver.into_iter().eq(0..10));
    tasks.into_iter().for_each(|task| task.join().unwrap());
}
