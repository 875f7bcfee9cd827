//! Channels: each message is received once, no party waits forever, and a party that gives up loses
//! nothing.

use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use crate::sync::channel::{self, Receiver, Sender};
use crate::task::{park, wait};
use crate::{NO_TIME, check};

/// A number that its sender has written and its receiver reads. Loom reports accesses that are not
/// ordered.
pub(crate) struct Message(Box<loom::cell::UnsafeCell<u32>>);

impl Message {
    pub(crate) fn new(number: u32) -> Message {
        let cell = Box::new(loom::cell::UnsafeCell::new(0));
        // SAFETY: no other party has it.
        cell.with_mut(|place| unsafe { *place = number });
        Message(cell)
    }

    pub(crate) fn number(self) -> u32 {
        // SAFETY: as above, or loom reports it.
        self.0.with_mut(|place| unsafe { *place })
    }
}

/// A channel and the fate of its messages. The handles are in a mutex of std, which is free
/// whenever loom lets another thread run.
pub(crate) struct Line {
    senders: Mutex<Vec<Sender<Message>>>,
    receivers: Mutex<Vec<Receiver<Message>>>,
    received: Mutex<Vec<u32>>,
    refused: Mutex<Vec<u32>>,
}

/// Makes a channel with so many senders and receivers.
fn line(capacity: usize, senders: usize, receivers: usize) -> Line {
    let (sender, receiver) = channel::bounded(capacity);
    Line {
        senders: Mutex::new(vec![sender; senders]),
        receivers: Mutex::new(vec![receiver; receivers]),
        received: Mutex::default(),
        refused: Mutex::default(),
    }
}

impl Line {
    /// Takes a sender, which its thread drops.
    fn sender(&self) -> Sender<Message> {
        self.senders.lock().unwrap().pop().expect("one is left")
    }

    fn receiver(&self) -> Receiver<Message> {
        self.receivers.lock().unwrap().pop().expect("one is left")
    }

    fn note(&self, message: Message) {
        let number = message.number();
        self.received.lock().unwrap().push(number);
    }

    fn note_refused(&self, message: Message) {
        let number = message.number();
        self.refused.lock().unwrap().push(number);
    }

    /// Returns the received messages and those still in the channel, in order of number.
    fn all(&self) -> Vec<u32> {
        let mut all = self.received.lock().unwrap().clone();
        if let Some(receiver) = self.receivers.lock().unwrap().last() {
            all.extend(receiver.try_iter().map(Message::number));
        }
        all.sort_unstable();
        all
    }

    fn all_and_refused(&self) -> Vec<u32> {
        let mut all = self.all();
        all.extend(&*self.refused.lock().unwrap());
        all.sort_unstable();
        all
    }
}

fn send(line: &Line, number: u32) {
    if let Err(error) = line.sender().send(Message::new(number)) {
        line.note_refused(error.into_inner());
    }
}

fn send_1(line: &Line) {
    send(line, 1);
}

fn send_2(line: &Line) {
    send(line, 2);
}

fn send_both(line: &Line) {
    let sender = line.sender();
    for number in 1..=2 {
        sender.send(Message::new(number)).ok().expect("somebody receives");
    }
}

fn send_3_if_taken_in_time(line: &Line) {
    if let Err(error) = line.sender().send_timeout(Message::new(3), NO_TIME) {
        line.note_refused(error.into_inner());
    }
}

fn receive(line: &Line) {
    if let Ok(message) = line.receiver().recv() {
        line.note(message);
    }
}

fn receive_two(line: &Line) {
    let receiver = line.receiver();
    for _ in 0..2 {
        line.note(receiver.recv().expect("two were sent"));
    }
}

fn receive_in_no_time(line: &Line) {
    if let Ok(message) = line.receiver().recv_timeout(NO_TIME) {
        line.note(message);
    }
}

fn receive_interrupted(line: &Line) {
    let result = park::interrupted(|| line.receiver().recv()).expect("no unwinding");
    if let Ok(message) = result {
        line.note(message);
    }
}

fn iterate_interrupted(line: &Line) {
    if let Some(Some(message)) = park::interrupted(|| line.receiver().iter().next()) {
        line.note(message);
    }
}

/// Polls once, and drops the future.
fn poll_once(line: &Line) {
    let receiver = line.receiver();
    let waker = park::waker();
    let future = pin!(receiver.recv_async());
    if let Poll::Ready(Ok(message)) = future.poll(&mut Context::from_waker(&waker)) {
        line.note(message);
    }
}

fn poll_to_the_end(line: &Line) {
    let receiver = line.receiver();
    let mut future = pin!(receiver.recv_async());
    loop {
        let waker = park::waker();
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(Ok(message)) => return line.note(message),
            Poll::Ready(Err(_)) => return,
            Poll::Pending => wait::or_unwind(None),
        }
    }
}

#[test]
fn two_senders_meet_a_receiver() {
    check(
        2,
        || line(0, 2, 1),
        &[receive_two, send_1, send_2],
        |line| {
            assert_eq!(line.all(), [1, 2]);
        },
    );
}

#[test]
fn two_senders_fill_a_channel_that_one_empties() {
    check(
        2,
        || line(1, 2, 1),
        &[receive_two, send_1, send_2],
        |line| {
            assert_eq!(line.all(), [1, 2]);
        },
    );
}

#[test]
fn one_sends_ahead_of_one_who_receives() {
    check(
        3,
        || line(1, 1, 1),
        &[receive_two, send_both],
        |line| {
            assert_eq!(*line.received.lock().unwrap(), [1, 2]);
        },
    );
}

#[test]
fn two_receivers_take_one_message_each() {
    check(
        2,
        || line(1, 1, 2),
        &[send_both, receive, receive],
        |line| {
            assert_eq!(line.all(), [1, 2]);
        },
    );
    check(
        2,
        || line(0, 1, 2),
        &[send_both, receive, receive],
        |line| {
            assert_eq!(line.all(), [1, 2]);
        },
    );
}

#[test]
fn a_receiver_whose_time_is_up_has_the_message_or_leaves_it() {
    check(
        2,
        || line(1, 1, 3),
        &[send_1, receive_in_no_time, receive_in_no_time],
        |line| {
            assert_eq!(line.all(), [1]);
        },
    );
    check(
        2,
        || line(0, 1, 2),
        &[send_1, receive_in_no_time, receive],
        |line| {
            assert_eq!(line.all(), [1]);
        },
    );
    check(
        2,
        || line(2, 1, 3),
        &[send_both, receive_in_no_time, receive],
        |line| {
            assert_eq!(line.all(), [1, 2]);
        },
    );
}

#[test]
fn a_receiver_that_is_interrupted_has_the_message_or_leaves_it() {
    check(
        2,
        || line(1, 1, 2),
        &[send_1, receive_interrupted],
        |line| {
            assert_eq!(line.all(), [1]);
        },
    );
    check(
        2,
        || line(0, 1, 2),
        &[send_1, receive_interrupted, receive],
        |line| {
            assert_eq!(line.all(), [1]);
        },
    );
    check(
        2,
        || line(2, 1, 3),
        &[send_both, receive_interrupted, receive],
        |line| {
            assert_eq!(line.all(), [1, 2]);
        },
    );
}

#[test]
fn an_iteration_that_is_unwound_gives_its_message_back() {
    check(
        3,
        || line(1, 1, 2),
        &[send_1, iterate_interrupted],
        |line| {
            assert_eq!(line.all(), [1]);
        },
    );
    // The other receiver gets the returned message.
    check(
        2,
        || line(2, 1, 3),
        &[send_both, iterate_interrupted, receive],
        |line| {
            assert_eq!(line.all(), [1, 2]);
        },
    );
}

#[test]
fn a_sender_whose_time_is_up_has_its_message_back_or_it_is_received() {
    check(
        2,
        || line(0, 2, 1),
        &[receive, send_3_if_taken_in_time, send_1],
        |line| {
            // A sender whose message was not received gets it back: the receiver has disconnected.
            assert_eq!(line.received.lock().unwrap().len(), 1);
            assert_eq!(line.all_and_refused(), [1, 3]);
        },
    );
}

#[test]
fn a_future_that_is_dropped_gives_its_message_back() {
    check(3, || line(1, 1, 2), &[send_1, poll_once], |line| assert_eq!(line.all(), [1]));
    check(
        2,
        || line(2, 1, 3),
        &[send_both, poll_once, receive],
        |line| {
            assert_eq!(line.all(), [1, 2]);
        },
    );
}

#[test]
fn a_future_is_woken_by_its_message_or_by_the_end() {
    check(
        2,
        || line(0, 1, 2),
        &[send_1, poll_to_the_end, receive],
        |line| {
            assert_eq!(line.all(), [1]);
        },
    );
}

#[test]
fn all_who_wait_learn_that_nobody_sends_any_more() {
    check(
        2,
        || line(1, 1, 2),
        &[|line: &Line| drop(line.sender()), receive, receive],
        |line| {
            assert!(line.all().is_empty());
        },
    );
    check(2, || line(1, 1, 2), &[send_1, receive, receive], |line| assert_eq!(line.all(), [1]));
}

#[test]
fn all_who_wait_learn_that_nobody_receives_any_more() {
    check(
        2,
        || line(0, 2, 1),
        &[|line: &Line| drop(line.receiver()), send_1, send_2],
        |line| {
            assert_eq!(line.all_and_refused(), [1, 2]);
        },
    );
}

#[test]
fn a_message_between_two_ends_is_received_or_refused_or_dropped() {
    check(
        3,
        || line(1, 2, 1),
        &[|line: &Line| drop(line.receiver()), send_1, send_2],
        |line| {
            assert!(line.received.lock().unwrap().is_empty());
        },
    );
}
