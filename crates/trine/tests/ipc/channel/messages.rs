//! Within one process: every message arrives, and waits end.

use std::process::Command;
use std::time::{Duration, Instant};

use trine::ipc::channel::Reason;
use trine::{coroutine, ipc, thread, time};

use super::{LONG, Message, until_refused};
use crate::common::places::{PLACES, everywhere};
use crate::common::waiting::until_waiting;

fn samples() -> Vec<Message> {
    let mut samples = vec![Message::Nothing, Message::Number(u64::MAX)];
    for len in [0, 1, 90, 100, 105, 106, 107, 108, 109, 110, 111, 112, 113, 200, 5000, 1 << 19] {
        samples.push(Message::Bytes((0..len).map(|n| (n * 7) as u8).collect()));
        let lines = (0..len / 50).map(|n| "line ".repeat(n % 9)).collect();
        samples.push(Message::Text { name: "n".repeat(len % 3000), lines });
    }
    samples
}

#[test]
fn messages_of_all_kinds_and_sizes_arrive_as_they_were() {
    let (sender, receiver) = ipc::channel(3).unwrap();
    let task = thread::spawn(move || {
        for sample in samples() {
            sender.send(sample).unwrap();
        }
    });
    for sample in samples() {
        assert!(receiver.recv().unwrap() == sample);
    }
    task.join().unwrap();
    assert!(receiver.recv().unwrap_err().is_disconnected());
}

#[test]
fn ends_that_are_dropped_are_told_and_what_was_sent_arrives() {
    everywhere(|| {
        let (sender, receiver) = ipc::channel(4).unwrap();
        let more = sender.clone();
        sender.send(1).unwrap();
        drop(sender);
        more.send(2).unwrap();
        assert_eq!((receiver.len(), receiver.capacity()), (2, 4));
        drop(more);
        let all: Vec<i32> = receiver.iter().map(Result::unwrap).collect();
        assert_eq!(all, [1, 2]);
        assert!(receiver.try_recv().unwrap_err().is_disconnected());
        let (sender, receiver) = ipc::channel(1).unwrap();
        sender.send(1).unwrap();
        let task = thread::spawn(move || sender.send(2).unwrap_err());
        until_waiting(&task);
        drop(receiver);
        let error = task.join().unwrap();
        assert!(error.is_disconnected());
        assert_eq!(error.into_inner(), 2);
    });
}

#[test]
fn calls_end_when_their_time_is_up_or_their_task_is_cancelled() {
    everywhere(|| {
        let (sender, receiver) = ipc::channel(1).unwrap();
        let brief = Duration::from_millis(2);
        let begin = Instant::now();
        assert!(receiver.recv_timeout(brief).unwrap_err().is_timeout());
        assert!(begin.elapsed() >= brief);
        assert!(receiver.try_recv().unwrap_err().is_empty());
        sender.send_timeout(1, brief).unwrap();
        assert!(sender.try_send(2).unwrap_err().is_full());
        let error = sender.send_timeout(2, brief).unwrap_err();
        assert!(error.is_timeout() && error.into_inner() == 2);
        assert!(
            time::timeout(brief, || sender.send(2)).unwrap().unwrap_err().interrupted().is_some()
        );
        assert_eq!(receiver.recv().unwrap(), 1);
    });
    for place in PLACES {
        let (sender, receiver) = ipc::channel::<u64>(1).unwrap();
        let task = place.spawn(move || receiver.recv().unwrap_err().interrupted().is_some());
        until_waiting(&task);
        task.cancel();
        assert!(task.join().unwrap());
        until_refused(&sender);
    }
}

#[test]
fn one_that_looks_again_and_again_lets_its_neighbours_run() {
    for timeout in [Duration::ZERO, Duration::from_micros(1)] {
        let task = coroutine::spawn(move || {
            let (sender, receiver) = ipc::channel::<u64>(1).unwrap();
            let neighbour = coroutine::spawn_local(move || {
                time::sleep(Duration::from_millis(1));
                sender.send(3).unwrap();
            });
            let end = Instant::now() + LONG;
            let received = loop {
                match receiver.recv_timeout(timeout) {
                    Err(error) if error.is_timeout() && Instant::now() < end => {}
                    received => break received,
                }
            };
            assert_eq!(received.unwrap(), 3);
            neighbour.join().unwrap();
        });
        task.join().unwrap();
    }
}

#[test]
fn many_send_to_many_and_every_message_arrives_once() {
    const EACH: u64 = 1000;
    for (capacity, bytes) in [(1, 64), (3, 300), (64, 64)] {
        let (sender, receiver) = ipc::channel_with::<(u64, Vec<u8>)>(capacity, 1000).unwrap();
        let senders: Vec<_> = (0..4)
            .map(|own| {
                let sender = sender.clone();
                let send = move || {
                    for n in 0..EACH {
                        sender.send((own * EACH + n, vec![own as u8; n as usize % bytes])).unwrap();
                    }
                };
                if own % 2 == 0 { thread::spawn(send) } else { coroutine::spawn(send) }
            })
            .collect();
        drop(sender);
        let receivers: Vec<_> = (0..4)
            .map(|own| {
                let receiver = receiver.clone();
                let receive = move || {
                    let mut last = [None; 4];
                    let mut got = Vec::new();
                    for message in &receiver {
                        let (n, bytes) = message.unwrap();
                        let from = (n / EACH) as usize;
                        assert!(bytes.iter().all(|&byte| byte as usize == from));
                        assert!(last[from].replace(n) < Some(n), "in the order of their sender");
                        got.push(n);
                    }
                    got
                };
                if own % 2 == 0 { thread::spawn(receive) } else { coroutine::spawn(receive) }
            })
            .collect();
        for sender in senders {
            sender.join().unwrap();
        }
        let mut all: Vec<u64> =
            receivers.into_iter().flat_map(|task| task.join().unwrap()).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..4 * EACH));
    }
}

/// Starts four waiters of one end, drops the other end at a varied moment, and expects that all of
/// them notice, 500 times.
fn all_waiters_notice<E, O>(waiting: impl Fn() -> (E, O), wait: fn(E) -> Reason)
where
    E: Clone + Send + 'static,
{
    for round in 0..500 {
        let (end, other) = waiting();
        let waiters: Vec<_> = (0..4)
            .map(|own| {
                let end = end.clone();
                let wait = move || wait(end);
                if own == 0 { thread::spawn(wait) } else { coroutine::spawn(wait) }
            })
            .collect();
        // A child that is being started keeps a copy of the other end's socket for a moment.
        let child = (round % 4 == 0).then(|| thread::spawn(|| Command::new("true").status()));
        for _ in 0..round % 7 {
            std::thread::yield_now();
        }
        drop(other);
        for waiter in waiters {
            let reason = waiter.join_timeout(LONG).unwrap_or_else(|_| panic!("round {round}"));
            assert_eq!(reason.unwrap(), Reason::Disconnected, "round {round}");
        }
        child.into_iter().for_each(|child| assert!(child.join().unwrap().unwrap().success()));
    }
}

#[test]
fn the_end_of_the_last_sender_wakes_every_waiting_receiver() {
    let empty = || {
        let (sender, receiver) = ipc::channel::<u64>(4).unwrap();
        (receiver, sender)
    };
    all_waiters_notice(empty, |receiver| receiver.recv().unwrap_err().reason().clone());
}

#[test]
fn the_end_of_the_last_receiver_wakes_every_waiting_sender() {
    let full = || {
        let (sender, receiver) = ipc::channel::<u64>(1).unwrap();
        sender.send(0).unwrap();
        (sender, receiver)
    };
    all_waiters_notice(full, |sender| sender.send(1).unwrap_err().reason().clone());
}

#[test]
fn a_message_of_the_greatest_length_arrives_and_a_longer_one_is_told() {
    for most in [10, 111, 112, 113, 120, 5000, 100_000] {
        let (sender, receiver) = ipc::channel_with::<Vec<u8>>(2, most).unwrap();
        // The length field takes one to three bytes.
        let fits = (0..=most).rev().find(|&len| sender.try_send(vec![7; len]).is_ok()).unwrap();
        assert!(fits + 3 >= most, "{fits} of {most}");
        assert_eq!(receiver.recv().unwrap(), vec![7; fits]);
        let error = sender.send(vec![7; fits + 1]).unwrap_err();
        assert!(matches!(error.reason(), Reason::TooLarge { most: told } if *told == most));
        assert_eq!(error.into_inner().len(), fits + 1);
        sender.send(vec![7; fits]).unwrap();
        assert_eq!(receiver.recv().unwrap().len(), fits);
    }
}
