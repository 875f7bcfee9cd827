//! Forms that the arms of a `select!` can have.

use std::panic::catch_unwind;
use std::time::Duration;

use trine::sync::channel::{self, Receiver};
use trine::sync::{Mutex, select, select_biased};
use trine::{Task, thread};

#[test]
fn temporaries_live_during_the_wait_and_not_in_the_arm() {
    fn first(receivers: &[Receiver<u8>]) -> Option<&Receiver<u8>> {
        receivers.first()
    }
    let (sender, receiver) = channel::bounded(3);
    (1..=3).for_each(|n| sender.send(n).unwrap());
    select! {
        recv(first(&[receiver.clone(), channel::never()]).unwrap()) -> n => assert_eq!(n, Ok(1)),
    }
    let both = Mutex::new((sender, receiver));
    select! {
        recv(both.lock().1) -> n => {
            assert_eq!(n, Ok(2));
            assert!(both.try_lock().is_some(), "the guard is dropped before the arm runs");
        }
    }
    let limit = Mutex::new(Duration::from_secs(60));
    select! {
        timeout(*limit.lock()) => unreachable!(),
        send(both.lock().0, limit.lock().as_secs() as u8) -> sent => sent.unwrap(),
        timeout(*limit.lock()) => unreachable!(),
    }
    let tasks = Mutex::new(vec![thread::spawn(|| 7)]);
    select! { join(tasks.lock()[0]) -> n => assert_eq!(n.unwrap(), 7) }
    select! { future(async { &String::from("short") == "short" }) -> same => assert!(same) }
}

#[test]
fn a_default_alone_runs() {
    let n = select! { default => 7 };
    assert_eq!(n, 7);
    select! { default => {} }
}

#[test]
fn arms_may_diverge() {
    #[expect(clippy::needless_return, reason = "the form of the arm is what is tested")]
    fn returns(receiver: &Receiver<u8>) -> u8 {
        select! {
            recv(receiver) -> n => return n.unwrap(),
            timeout(Duration::ZERO) => return 0,
        };
    }
    fn is_there(receiver: &Receiver<u8>) -> Result<u8, &'static str> {
        let n = select! {
            recv(receiver) -> n => n.map_err(|_| "disconnected")?,
            default => return Err("empty"),
        };
        Ok(n)
    }
    fn panics(receiver: &Receiver<u8>) -> u8 {
        select! {
            recv(receiver) -> n => n.unwrap(),
            default => panic!("as expected"),
        }
    }
    let (sender, receiver) = channel::unbounded();
    assert_eq!(returns(&receiver), 0);
    assert_eq!(is_there(&receiver), Err("empty"));
    (1..=5).for_each(|n| sender.send(n).unwrap());
    assert_eq!(returns(&receiver), 1);
    assert_eq!(is_there(&receiver), Ok(2));
    assert_eq!(panics(&receiver), 3);
    let mut sum = 0;
    loop {
        sum += select! {
            recv(receiver) -> n => n.unwrap(),
            default => break,
        };
    }
    assert_eq!(sum, 9);
    let mut turns = 0;
    loop {
        select! {
            default => if turns < 3 { turns += 1; continue } else { break }
        }
    }
    assert_eq!(turns, 3);
    let panicked = catch_unwind(std::panic::AssertUnwindSafe(|| panics(&receiver)));
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"as expected"));
}

#[test]
fn a_biased_select_takes_the_first_that_can_go() {
    let (a, from_a) = channel::unbounded();
    let (b, from_b) = channel::unbounded();
    let mut done: Task<u8> = thread::spawn(|| 3);
    while !done.is_finished() {
        std::thread::yield_now();
    }
    for _ in 0..100 {
        a.send(1).unwrap();
        b.send(2).unwrap();
        for expected in [1, 2] {
            let n = select_biased! {
                recv(from_a) -> n => n.unwrap(),
                recv(from_b) -> n => n.unwrap(),
                join(done) -> _ => unreachable!(),
                default => unreachable!(),
            };
            assert_eq!(n, expected);
        }
    }
    let n = select_biased! {
        recv(from_b) -> _ => unreachable!(),
        recv(from_a) -> _ => unreachable!(),
        join(done) -> n => n.unwrap(),
        timeout(Duration::ZERO) => unreachable!(),
    };
    assert_eq!(n, 3);
    // Also after it has waited.
    let other = thread::spawn(move || a.send(4).map(|()| b));
    let n = select_biased! {
        recv(from_a) -> n => n.unwrap(),
        recv(from_b) -> n => n.map_or(0, |n: u8| n),
    };
    assert_eq!(n, 4);
    drop(other.join().unwrap().unwrap());
    select_biased! { recv(from_b) -> n => assert!(n.is_err()) }
}

#[test]
fn never_has_no_message_and_no_end() {
    let never = channel::never::<u8>();
    assert!(never.try_recv().unwrap_err().is_empty());
    assert!(never.clone().recv_timeout(Duration::from_millis(1)).unwrap_err().is_timeout());
    select! {
        recv(never) -> _ => unreachable!(),
        default => {}
    }
}

#[test]
fn handles_know_their_channel() {
    let (sender, receiver) = channel::bounded::<u8>(1);
    let (other_sender, other_receiver) = channel::bounded::<u8>(1);
    assert!(sender.same_channel(&sender.clone()) && receiver.same_channel(&receiver.clone()));
    assert!(!sender.same_channel(&other_sender) && !receiver.same_channel(&other_receiver));
}
