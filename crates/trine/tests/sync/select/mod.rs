//! `select!`, between coroutines, threads and both.

mod arms;
mod choice;
mod dynamic;
mod futures;
mod panics;
mod tasks;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use trine::sync::channel::{self, RecvError};
use trine::sync::select;
use trine::{Task, coroutine};

use crate::common::places::spawn_nth;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_is_ready_goes_and_else_the_default() {
    let (sender, receiver) = channel::bounded(1);
    let taken = select! {
        recv(receiver) -> message => message.ok(),
        default => None,
    };
    assert_eq!(taken, None);
    select! {
        send(sender, 5) -> sent => assert_eq!(sent, Ok(())),
        default => unreachable!(),
    }
    let full = select! {
        send(sender, 6) -> _ => false,
        default => true
    };
    assert!(full);
    let taken = select! {
        recv(receiver) -> message => { message.ok() }
        timeout(LONG) => None,
    };
    assert_eq!(taken, Some(5));
    select! {
        recv(&receiver) -> message => panic!("{message:?}"),
        timeout(Duration::from_millis(1)) => {}
    }
    drop(sender);
    select! {
        recv(receiver) -> message => assert_eq!(message, Err(RecvError::Disconnected))
    }
}

#[test]
fn bodies_belong_to_the_code_around() {
    fn first(n: u32) -> Result<u32, RecvError> {
        let (sender, receiver) = channel::unbounded();
        (0..n).for_each(|n| sender.send(n).unwrap());
        drop(sender);
        let mut sum = 0;
        loop {
            select! {
                recv(receiver) -> message => {
                    let n = message?;
                    if n == 3 { break }
                    if n == 2 { continue }
                    sum += n;
                }
            }
        }
        // The arm has ended: the value that it borrowed can be moved.
        drop(receiver);
        Ok(sum)
    }
    assert_eq!(first(5), Ok(1));
    assert_eq!(first(2), Err(RecvError::Disconnected));
}

#[test]
fn arms_that_are_always_ready_are_both_taken_often() {
    let (a, from_a) = channel::unbounded();
    let (b, from_b) = channel::unbounded();
    for _ in 0..1000 {
        a.send(()).unwrap();
        b.send(()).unwrap();
    }
    let (mut of_a, mut of_b) = (0, 0);
    for _ in 0..1000 {
        select! {
            recv(from_a) -> _ => of_a += 1,
            recv(from_b) -> _ => of_b += 1,
        }
    }
    assert!(of_a > 300 && of_b > 300, "{of_a} and {of_b}");
}

#[test]
fn a_value_in_an_option_is_kept_until_it_is_sent() {
    let (sender, receiver) = channel::bounded(1);
    let mut value = Some(String::from("kept"));
    sender.send(String::from("first")).unwrap();
    select! {
        send(sender, &mut value) -> _ => unreachable!(),
        timeout(Duration::from_millis(1)) => {}
    }
    assert_eq!(value.as_deref(), Some("kept"));
    assert_eq!(receiver.recv().unwrap(), "first");
    select! {
        send(sender, &mut value) -> sent => sent.unwrap(),
        timeout(LONG) => unreachable!(),
    }
    assert_eq!((value.as_deref(), receiver.recv().unwrap().as_str()), (None, "kept"));
    select! {
        send(sender, &mut value) -> _ => unreachable!("there is nothing to send"),
        timeout(Duration::from_millis(1)) => {}
    }
    drop(receiver);
    let mut value = Some(String::from("back"));
    select! {
        send(sender, &mut value) -> sent => assert_eq!(sent.unwrap_err().into_inner(), "back"),
    }
}

#[test]
fn the_first_of_two_tasks_to_end() {
    for nth in 0..2 {
        let (go, wait) = channel::rendezvous::<()>();
        let mut slow = spawn_nth(nth, move || wait.recv().is_ok());
        let mut quick = spawn_nth(nth + 1, || "quick");
        select! {
            join(quick) -> name => assert_eq!(name.unwrap(), "quick"),
            join(slow) -> _ => unreachable!(),
        }
        select! {
            join(slow) -> _ => unreachable!(),
            send(go, ()) -> sent => sent.unwrap(),
        }
        assert!(slow.join().unwrap());
        let mut fails: Task<()> = spawn_nth(nth, || panic!("as expected"));
        select! {
            join(fails) -> outcome => assert!(outcome.unwrap_err().is_panic()),
            timeout(LONG) => unreachable!(),
        }
    }
}

#[test]
fn two_selects_meet_at_a_rendezvous() {
    const ROUNDS: usize = 500;
    for nth in 0..4 {
        let (a, from_a) = channel::rendezvous();
        let (b, from_b) = channel::rendezvous();
        // Each offers on one channel and asks on the other, in opposite order.
        let play = |sender: channel::Sender<usize>, receiver: channel::Receiver<usize>| {
            move || {
                let (mut sent, mut received) = (0, 0);
                while sent + received < ROUNDS {
                    select! {
                        send(sender, sent) -> done => { done.unwrap(); sent += 1 }
                        recv(receiver) -> message => {
                            assert_eq!(message.unwrap(), received);
                            received += 1;
                        }
                    }
                }
                (sent, received)
            }
        };
        let left = spawn_nth(nth % 2, play(a, from_b));
        let right = spawn_nth(nth / 2, play(b, from_a));
        let ((sent, received), other) = (left.join().unwrap(), right.join().unwrap());
        assert_eq!((received, sent), other);
    }
}

#[test]
fn a_select_does_not_meet_itself() {
    let (sender, receiver) = channel::rendezvous();
    select! {
        send(sender, 1) -> _ => unreachable!(),
        recv(receiver) -> _ => unreachable!(),
        timeout(Duration::from_millis(2)) => {}
    }
    let task = coroutine::spawn(move || receiver.recv());
    select! {
        send(sender, 2) -> sent => sent.unwrap(),
    }
    assert_eq!(task.join().unwrap(), Ok(2));
}

#[test]
fn who_waits_learns_that_the_other_side_is_gone() {
    for nth in 0..2 {
        let (sender, receiver) = channel::bounded::<u8>(1);
        let (_keep, other) = channel::bounded::<u8>(1);
        let task = spawn_nth(nth, move || {
            select! {
                recv(other) -> _ => false,
                recv(receiver) -> message => message == Err(RecvError::Disconnected),
            }
        });
        while task.state() != trine::State::Waiting {
            coroutine::yield_now();
        }
        drop(sender);
        assert!(task.join().unwrap());
    }
}

#[test]
fn nothing_is_lost_between_channels_senders_and_timeouts() {
    const EACH: usize = 400;
    for (capacity, offset) in [(0, 0), (1, 0), (3, 0), (0, 1), (1, 1), (0, 2), (2, 2)] {
        // All coroutines, all threads, or in turn.
        let (step, offset) = if offset == 2 { (1, 0) } else { (2, offset) };
        let (a, from_a) = channel::bounded(capacity);
        let (b, from_b) = channel::bounded(capacity);
        let received = Arc::new(AtomicUsize::new(0));
        let mut sending = Vec::new();
        for nth in 0..3 {
            let plain = if nth == 0 { a.clone() } else { b.clone() };
            let (a, b) = (a.clone(), b.clone());
            sending.push(spawn_nth(nth * step + offset, move || {
                let mut sum = 0;
                for n in 1..=EACH {
                    let mut is_sent = false;
                    while !is_sent {
                        select! {
                            send(a, n) -> sent => is_sent = sent.is_ok(),
                            send(b, n) -> sent => is_sent = sent.is_ok(),
                            timeout(Duration::from_micros(n as u64 % 30)) => {}
                        }
                    }
                    sum += n;
                }
                sum
            }));
            // Plain senders among them.
            sending.push(spawn_nth(nth * step + offset, move || {
                (1..=EACH).inspect(|n| plain.send(*n).unwrap()).sum()
            }));
        }
        let receiving: Vec<Task<()>> = (0..3)
            .map(|nth| {
                let (from_a, from_b) = (from_a.clone(), from_b.clone());
                let received = Arc::clone(&received);
                spawn_nth(nth * step + offset, move || {
                    let (mut open_a, mut open_b) = (true, true);
                    while open_a && open_b {
                        select! {
                            recv(from_a) -> message => match message {
                                Ok(n) => { received.fetch_add(n, SeqCst); }
                                Err(_) => open_a = false,
                            },
                            recv(from_b) -> message => match message {
                                Ok(n) => { received.fetch_add(n, SeqCst); }
                                Err(_) => open_b = false,
                            },
                            timeout(Duration::from_micros(20)) => {}
                        }
                    }
                    let rest = from_a.iter().chain(from_b.iter()).sum::<usize>();
                    received.fetch_add(rest, SeqCst);
                })
            })
            .collect();
        drop((a, b, from_a, from_b));
        let sent: usize = sending.into_iter().map(|task| task.join().unwrap()).sum();
        receiving.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(received.load(SeqCst), sent, "capacity {capacity}");
    }
}

#[test]
fn a_cancelled_select_unwinds_and_leaves_its_channels() {
    for nth in 0..2 {
        let (a, from_a) = channel::bounded::<u8>(1);
        let (b, from_b) = channel::rendezvous::<u8>();
        let (own_a, own_b) = (from_a.clone(), b.clone());
        let task = spawn_nth(nth, move || {
            select! {
                recv(own_a) -> message => panic!("{message:?}"),
                send(own_b, 1) -> sent => panic!("{sent:?}"),
            }
        });
        while task.state() != trine::State::Waiting {
            coroutine::yield_now();
        }
        task.cancel();
        assert!(task.join().unwrap_err().is_cancelled());
        assert!(from_b.try_recv().unwrap_err().is_empty());
        a.try_send(2).unwrap();
        assert_eq!(from_a.try_recv(), Ok(2));
        assert!(
            trine::time::timeout(Duration::from_millis(1), || select! {
                recv(from_a) -> _ => {}
                recv(from_b) -> _ => {}
            })
            .is_err()
        );
    }
}

#[test]
fn a_cancelled_select_and_a_message_meet_at_all_moments() {
    for round in 0..2000 {
        let (a, from_a) = channel::bounded(round % 2);
        let (_b, from_b) = channel::bounded(1);
        let own = from_a.clone();
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        let selecting = spawn_nth(round, move || {
            select! {
                recv(own) -> message => count.fetch_add(message.unwrap(), SeqCst),
                recv(from_b) -> message => message.unwrap(),
            }
        });
        if round % 8 < 4 {
            while selecting.state() != trine::State::Waiting {
                coroutine::yield_now();
            }
        }
        let sending = spawn_nth(round / 2, move || a.send(1));
        selecting.cancel();
        let is_taken = selecting.join().is_ok();
        assert_eq!(received.load(SeqCst), usize::from(is_taken));
        let patience = if is_taken { Duration::ZERO } else { LONG };
        assert_eq!(from_a.recv_timeout(patience).is_ok(), !is_taken, "round {round}");
        sending.join().unwrap().unwrap();
    }
}
