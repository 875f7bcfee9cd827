//! `select!`: at most one arm goes, and its message is not lost.

use std::sync::Mutex;

use crate::__select as select;
use crate::channels::Message;
use crate::sync::channel::{self, Receiver, Sender};
use crate::task::park;
use crate::{NO_TIME, check};

type Pair = (Sender<Message>, Receiver<Message>);

/// Two channels, and the messages that were received and sent.
struct Two {
    a: Pair,
    b: Pair,
    received: Mutex<Vec<u32>>,
    sent: Mutex<Vec<u32>>,
}

/// Makes two channels in the order of their addresses. `select!` visits them in that order, which
/// has to be the same in each run of a model.
fn two(capacity: usize) -> Two {
    // SAFETY: a sender is a pointer to its channel.
    let address = |pair: &Pair| unsafe { std::mem::transmute_copy::<_, usize>(&pair.0) };
    let mut pairs = [channel::bounded(capacity), channel::bounded(capacity)];
    pairs.sort_by_key(address);
    let [a, b] = pairs;
    Two { a, b, received: Mutex::default(), sent: Mutex::default() }
}

impl Two {
    fn note(&self, message: Message) {
        let number = message.number();
        self.received.lock().unwrap().push(number);
    }

    fn note_sent(&self, number: u32) {
        self.sent.lock().unwrap().push(number);
    }

    /// Returns the received messages and those still in a channel, in order of number.
    fn all(&self) -> Vec<u32> {
        let mut all = self.received.lock().unwrap().clone();
        let left = self.a.1.try_iter().chain(self.b.1.try_iter());
        all.extend(left.map(Message::number));
        all.sort_unstable();
        all
    }

    fn all_sent(&self) -> Vec<u32> {
        let mut sent = self.sent.lock().unwrap().clone();
        sent.sort_unstable();
        sent
    }
}

fn send_1_on_a(two: &Two) {
    assert!(two.a.0.send(Message::new(1)).is_ok());
}

fn send_2_on_b(two: &Two) {
    assert!(two.b.0.send(Message::new(2)).is_ok());
}

fn send_on_both(two: &Two) {
    send_1_on_a(two);
    send_2_on_b(two);
}

fn receive_one(two: &Two) {
    select! {
        recv(two.a.1) -> message => two.note(message.unwrap()),
        recv(two.b.1) -> message => two.note(message.unwrap()),
    }
}

fn receive_both(two: &Two) {
    receive_one(two);
    receive_one(two);
}

fn receive_in_no_time(two: &Two) {
    select! {
        recv(two.a.1) -> message => two.note(message.unwrap()),
        recv(two.b.1) -> message => two.note(message.unwrap()),
        timeout(NO_TIME) => {}
    }
}

fn receive_interrupted(two: &Two) {
    park::interrupted(|| receive_one(two));
}

fn send_on_one(two: &Two) {
    select! {
        send(two.a.0, Message::new(1)) -> _ => two.note_sent(1),
        send(two.b.0, Message::new(2)) -> _ => two.note_sent(2),
    }
}

fn send_on_one_in_no_time(two: &Two) {
    select! {
        send(two.a.0, Message::new(1)) -> _ => two.note_sent(1),
        send(two.b.0, Message::new(2)) -> _ => two.note_sent(2),
        timeout(NO_TIME) => {}
    }
}

fn send_on_one_interrupted(two: &Two) {
    let mut message = Some(Message::new(1));
    let is_sent = park::interrupted(|| {
        select! {
            send(two.a.0, &mut message) -> _ => {}
        }
    });
    // Unwound, it may still have sent the message.
    assert!(is_sent.is_none() || message.is_none());
    if message.is_none() {
        two.note_sent(1);
    }
}

#[test]
fn a_select_over_two_channels_against_two_senders() {
    for_both(
        || two(0),
        || two(1),
        &[receive_both, send_1_on_a, send_2_on_b],
        |two| {
            assert_eq!(two.all(), [1, 2]);
        },
    );
}

fn for_both(first: fn() -> Two, second: fn() -> Two, threads: &'static [fn(&Two)], end: fn(&Two)) {
    check(2, first, threads, end);
    check(2, second, threads, end);
}

#[test]
fn two_selects_against_one_who_sends_on_both() {
    for_both(
        || two(0),
        || two(1),
        &[send_on_both, receive_one, receive_one],
        |two| {
            assert_eq!(two.all(), [1, 2]);
        },
    );
}

#[test]
fn a_select_that_sends_against_one_that_receives() {
    for_both(
        || two(0),
        || two(1),
        &[send_on_one, receive_one],
        |two| {
            assert_eq!(two.all(), two.all_sent());
        },
    );
}

#[test]
fn two_selects_that_send_and_receive_crosswise() {
    check(
        3,
        || two(0),
        &[
            |two: &Two| {
                select! {
                    send(two.a.0, Message::new(1)) -> _ => two.note_sent(1),
                    recv(two.b.1) -> message => two.note(message.unwrap()),
                }
            },
            |two: &Two| {
                select! {
                    send(two.b.0, Message::new(2)) -> _ => two.note_sent(2),
                    recv(two.a.1) -> message => two.note(message.unwrap()),
                }
            },
        ],
        |two| {
            assert_eq!(two.all().len(), 1);
            assert_eq!(two.all(), two.all_sent());
        },
    );
}

#[test]
fn a_select_whose_time_is_up_has_what_it_was_granted() {
    check(
        2,
        || two(1),
        &[receive_in_no_time, send_1_on_a, send_2_on_b],
        |two| {
            assert_eq!(two.all(), [1, 2]);
        },
    );
    check(
        3,
        || two(0),
        &[send_on_one_in_no_time, receive_in_no_time],
        |two| {
            assert_eq!(two.all(), two.all_sent());
        },
    );
}

#[test]
fn a_select_that_is_interrupted_gives_back_what_it_was_granted() {
    check(
        2,
        || two(1),
        &[receive_interrupted, send_1_on_a, send_2_on_b],
        |two| {
            assert_eq!(two.all(), [1, 2]);
        },
    );
    check(
        2,
        || two(2),
        &[receive_interrupted, send_on_both, receive_one],
        |two| {
            assert_eq!(two.all(), [1, 2]);
        },
    );
}

#[test]
fn a_select_that_is_interrupted_has_sent_or_keeps_its_message() {
    check(
        3,
        || two(0),
        &[send_on_one_interrupted, receive_in_no_time],
        |two| {
            assert!(two.all().len() <= two.all_sent().len());
        },
    );
}

#[test]
fn a_plain_receiver_beside_a_select() {
    fn receive_on_a_in_no_time(two: &Two) {
        if let Ok(message) = two.a.1.recv_timeout(NO_TIME) {
            two.note(message);
        }
    }
    check(
        2,
        || two(1),
        &[send_1_on_a, receive_in_no_time, receive_on_a_in_no_time],
        |two| assert_eq!(two.all(), [1]),
    );
}

#[test]
fn a_default_beside_a_message_that_moves_is_never_taken() {
    fn with_one_on_a() -> Two {
        let two = two(1);
        send_1_on_a(&two);
        two
    }
    // The message on `b` is sent before the one on `a` is taken: at each moment there is one.
    fn move_it(two: &Two) {
        send_2_on_b(two);
        if let Ok(message) = two.a.1.try_recv() {
            two.note(message);
        }
    }
    // In both orders, as the choice of the arm that is tried first is the same in each run.
    fn receive_a_or_b(two: &Two) {
        select! {
            recv(two.a.1) -> message => two.note(message.unwrap()),
            recv(two.b.1) -> message => two.note(message.unwrap()),
            default => panic!("one of the channels had a message at each moment"),
        }
    }
    fn receive_b_or_a(two: &Two) {
        select! {
            recv(two.b.1) -> message => two.note(message.unwrap()),
            recv(two.a.1) -> message => two.note(message.unwrap()),
            default => panic!("one of the channels had a message at each moment"),
        }
    }
    check(2, with_one_on_a, &[receive_a_or_b, move_it], |two| assert_eq!(two.all(), [1, 2]));
    check(2, with_one_on_a, &[receive_b_or_a, move_it], |two| assert_eq!(two.all(), [1, 2]));
}

#[test]
fn a_select_with_a_default_loses_nothing_that_it_is_granted_while_it_looks() {
    fn receive_or_not(two: &Two) {
        select! {
            recv(two.a.1) -> message => two.note(message.unwrap()),
            recv(two.b.1) -> message => two.note(message.unwrap()),
            default => {}
        }
    }
    fn send_or_not(two: &Two) {
        select! {
            send(two.a.0, Message::new(1)) -> _ => two.note_sent(1),
            send(two.b.0, Message::new(2)) -> _ => two.note_sent(2),
            default => {}
        }
    }
    check(
        2,
        || two(0),
        &[receive_or_not, send_or_not],
        |two| assert_eq!(two.all(), two.all_sent()),
    );
}
