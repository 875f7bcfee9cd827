//! Waits that end early, by a timeout or a cancellation.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use trine::sync::channel::{self, RecvTimeoutError};
use trine::{State, Task, coroutine, time};

use crate::common::places::spawn_nth;
use crate::common::waiting::{until, until_waiting};

#[test]
fn a_timeout_hands_the_value_back_and_the_receiver_never_sees_it() {
    for (flavour, (sender, receiver)) in [("0", channel::bounded(0)), ("1", channel::bounded(1))] {
        for nth in 0..2 {
            let (sender, receiver) = (sender.clone(), receiver.clone());
            let task = spawn_nth(nth, move || {
                let begin = Instant::now();
                let time = Duration::from_millis(2);
                assert_eq!(receiver.recv_timeout(time), Err(RecvTimeoutError::Timeout));
                if sender.capacity() == Some(1) {
                    sender.send("fills it").unwrap();
                }
                let error = sender.send_timeout("late", time).unwrap_err();
                assert!(error.is_timeout());
                assert_eq!(error.into_inner(), "late");
                assert!(begin.elapsed() >= 2 * time);
                receiver.try_iter().collect::<Vec<_>>()
            });
            let left = task.join().unwrap();
            assert!(!left.contains(&"late"), "{flavour}: {left:?}");
        }
    }
}

#[test]
fn sends_that_time_out_and_sends_that_arrive_add_up() {
    for capacity in [0, 1] {
        let (sender, receiver) = channel::bounded(capacity);
        let sending: Vec<_> = (0..4)
            .map(|nth| {
                let sender = sender.clone();
                spawn_nth(nth, move || {
                    let mut sent = 0_u64;
                    for n in 1..=300 {
                        match sender.send_timeout(n, Duration::from_micros(n % 40)) {
                            Ok(()) => sent += n,
                            Err(error) => {
                                assert_eq!((error.is_timeout(), error.into_inner()), (true, n))
                            }
                        }
                    }
                    sent
                })
            })
            .collect();
        let receiving: Vec<_> = (0..2)
            .map(|nth| {
                let receiver = receiver.clone();
                spawn_nth(nth, move || {
                    let mut received = 0;
                    loop {
                        match receiver.recv_timeout(Duration::from_micros(30)) {
                            Ok(n) => received += n,
                            Err(RecvTimeoutError::Timeout) => coroutine::yield_now(),
                            Err(_) => return received,
                        }
                    }
                })
            })
            .collect();
        drop((sender, receiver));
        let sum = |tasks: Vec<Task<u64>>| tasks.into_iter().map(|t| t.join().unwrap()).sum::<u64>();
        assert_eq!(sum(sending), sum(receiving), "capacity {capacity}");
    }
}

#[test]
fn a_cancelled_send_hands_its_value_back() {
    for capacity in [0, 1] {
        for nth in 0..2 {
            let (sender, receiver) = channel::bounded(capacity);
            while sender.try_send("fills it").is_ok() {}
            let sending = spawn_nth(nth, move || sender.send("late"));
            until_waiting(&sending);
            sending.cancel_because("no longer wanted");
            let error = sending.join().unwrap().unwrap_err();
            assert_eq!(error.interrupted().unwrap().reason(), Some("no longer wanted"));
            assert_eq!(error.into_inner(), "late");
            assert!(receiver.iter().all(|left| left == "fills it"));
        }
    }
}

#[test]
fn a_cancelled_receive_says_so_and_an_iteration_unwinds() {
    for capacity in [0, 1] {
        for nth in 0..2 {
            let (sender, receiver) = channel::bounded::<u8>(capacity);
            let own = receiver.clone();
            let receiving = spawn_nth(nth, move || own.recv());
            until_waiting(&receiving);
            receiving.cancel();
            let error = receiving.join().unwrap().unwrap_err();
            assert!(error.interrupted().unwrap().is_cancelled());

            let own = receiver.clone();
            let iterating = spawn_nth(nth, move || own.into_iter().count());
            until_waiting(&iterating);
            iterating.cancel();
            assert!(iterating.join().unwrap_err().is_cancelled());

            // They have left the queue.
            assert_eq!(sender.try_send(1).is_ok(), capacity == 1);
            assert_eq!(receiver.try_recv().is_ok(), capacity == 1);
        }
    }
}

#[test]
fn an_iteration_takes_the_message_that_it_was_given_before_it_was_cancelled() {
    // The local coroutine has no turn between the two, and has the only receiver.
    for capacity in [0, 1] {
        let got = Rc::new(Cell::new(None));
        let inside = Rc::clone(&got);
        let (sender, receiver) = channel::bounded::<u8>(capacity);
        let task = coroutine::spawn_local(move || {
            inside.set(receiver.iter().next());
            time::sleep(Duration::MAX);
        });
        while task.state() != State::Waiting {
            coroutine::yield_now();
        }
        sender.try_send(7).unwrap();
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled(), "the next wait is interrupted");
        assert_eq!(got.get(), Some(7));
    }
}

#[test]
fn a_cancelled_task_sends_and_receives_what_needs_no_waiting() {
    for nth in 0..2 {
        let (sender, receiver) = channel::bounded(2);
        sender.send(1).unwrap();
        let task = spawn_nth(nth, move || {
            while !trine::cancelled() {
                coroutine::yield_now();
            }
            assert_eq!(receiver.recv(), Ok(1));
            sender.send(2).unwrap();
            assert_eq!(receiver.iter().next(), Some(2));
            let error = receiver.recv().unwrap_err();
            assert!(error.interrupted().unwrap().is_cancelled());
        });
        until(|| task.state() != State::New);
        task.cancel();
        task.join().unwrap();
    }
}

#[test]
fn a_timeout_around_them_ends_the_waits() {
    const SHORT: Duration = Duration::from_millis(2);
    for nth in 0..2 {
        let task = spawn_nth(nth, || {
            let (sender, receiver) = channel::rendezvous::<u8>();
            let ended = time::timeout(SHORT, || receiver.recv()).unwrap();
            assert!(ended.unwrap_err().interrupted().unwrap().is_timeout());
            let ended = time::timeout(SHORT, || receiver.recv_timeout(Duration::MAX)).unwrap();
            assert!(ended.unwrap_err().interrupted().unwrap().is_timeout());
            let ended = time::timeout(SHORT, || sender.send(3)).unwrap().unwrap_err();
            assert!(ended.interrupted().unwrap().is_timeout());
            assert_eq!(ended.into_inner(), 3);
            assert!(time::timeout(SHORT, || receiver.iter().next()).is_err());
            assert!(sender.try_send(4).unwrap_err().is_full(), "none of them waits any more");
        });
        task.join().unwrap();
    }
}

#[test]
fn a_cancellation_and_a_message_meet_at_all_moments() {
    for round in 0..2000 {
        let (sender, receiver) = channel::bounded(round % 3);
        let own = receiver.clone();
        let iterates = round % 4 < 2;
        let receiving =
            spawn_nth(round, move || if iterates { own.iter().next() } else { own.recv().ok() });
        if round % 8 < 4 {
            until(|| receiving.state() == State::Waiting);
        }
        let sending = spawn_nth(round / 2, move || sender.send(round));
        receiving.cancel();
        let taken = receiving.join().unwrap_or(None);
        // A rendezvous disconnects, unless the other has the message.
        let left = receiver.recv_timeout(Duration::from_secs(if taken.is_some() { 0 } else { 60 }));
        drop(receiver);
        match (taken, left) {
            (Some(message), Err(_)) | (None, Ok(message)) => assert_eq!(message, round),
            both => panic!("round {round}: {both:?}"),
        }
        sending.join().unwrap().unwrap();
    }
}

#[test]
fn a_cancelled_send_and_its_receiver_meet_at_all_moments() {
    for round in 0..2000 {
        let (sender, receiver) = channel::bounded(round % 2);
        while sender.try_send(usize::MAX).is_ok() {}
        let sending = spawn_nth(round, move || sender.send(round));
        if round % 8 < 4 {
            until(|| sending.state() == State::Waiting || sending.is_finished());
        }
        let receiving =
            spawn_nth(round / 2, move || receiver.iter().filter(|n| *n == round).count());
        sending.cancel();
        let is_sent = match sending.join() {
            Ok(Ok(())) => 1,
            Ok(Err(error)) => {
                assert!(error.interrupted().is_some());
                assert_eq!(error.into_inner(), round);
                0
            }
            // It had not begun.
            Err(error) => {
                assert!(error.is_cancelled());
                0
            }
        };
        assert_eq!(receiving.join().unwrap(), is_sent);
    }
}
