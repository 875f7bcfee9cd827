//! Selections whose arms are made at run time.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use trine::sync::channel::{self, Receiver, Select};
use trine::{coroutine, thread};

use super::LONG;
use crate::common::places::{PLACES, spawn_nth};
use crate::common::waiting::until_waiting;

#[test]
fn any_number_of_arms_of_all_kinds() {
    for place in PLACES {
        place
            .spawn(|| {
                let (sender, receiver) = channel::bounded(1);
                let never = channel::never::<u8>();
                let mut task = coroutine::spawn(|| 3);
                let mut results = Vec::new();
                for _ in 0..3 {
                    let select = Select::new().recv(&never, |_| unreachable!()).biased();
                    let select = match results.len() {
                        0 => select.send(&sender, 1, |sent| sent.map_or(0, |()| 1)),
                        1 => select.recv(&receiver, |n| n.map_or(0, |n: i32| n + 1)),
                        _ => select.join(&mut task, |n| n.unwrap()),
                    };
                    results.push(select.wait());
                }
                assert_eq!(results, [1, 2, 3]);
                let ready =
                    Select::new().future(pending::<()>(), |()| 0).future(async { 4 }, |n| n);
                assert_eq!(ready.wait_timeout(LONG), Some(4));
            })
            .join()
            .unwrap();
    }
}

#[test]
fn without_an_arm_that_can_go_there_is_no_value() {
    let never = channel::never::<u8>();
    let select = || Select::new().recv(&never, |_| ()).recv(&never, |_| ());
    assert_eq!(select().try_wait(), None);
    assert_eq!(select().wait_timeout(Duration::ZERO), None);
    assert_eq!(select().wait_timeout(Duration::from_millis(1)), None);
    assert_eq!(Select::<()>::new().try_wait(), None);
    assert_eq!(Select::<()>::new().wait_timeout(Duration::from_millis(1)), None);
    let waits = catch_unwind(|| Select::<()>::default().wait());
    assert!(waits.unwrap_err().downcast_ref::<&str>().unwrap().contains("without arms"));
}

#[test]
fn the_arms_are_dropped_before_a_function_runs() {
    let (sender, receiver) = channel::bounded(1);
    let (full, _keep) = channel::rendezvous::<i32>();
    sender.send(1).unwrap();
    let mut value = Some(2);
    let there = std::rc::Rc::new(());
    let other = std::rc::Rc::clone(&there);
    let n = Select::new()
        .send(&full, &mut value, move |_| drop(other))
        .recv(&receiver, |n| {
            assert_eq!(std::rc::Rc::strong_count(&there), 1);
            assert_eq!(n, Ok(1));
        })
        .wait_timeout(LONG);
    assert_eq!((n, value), (Some(()), Some(2)));
}

#[test]
fn a_capture_that_panics_when_it_is_dropped_loses_no_message() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("as expected"));
        }
    }
    let (sender, receiver) = channel::bounded(1);
    let never = channel::never::<u8>();
    sender.send(7).unwrap();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let bomb = Bomb;
        let select = Select::new().recv(&never, move |_| drop(bomb));
        select.recv(&receiver, |_| unreachable!()).wait();
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"as expected"));
    assert_eq!(receiver.try_recv(), Ok(7));
}

#[test]
fn a_cancelled_wait_leaves_all_channels() {
    for place in PLACES {
        let (senders, receivers): (Vec<_>, Vec<Receiver<u8>>) =
            (0..10).map(|_| channel::bounded(1)).unzip();
        let same = receivers.clone();
        let waits = place.spawn(move || {
            let mut select = Select::new();
            for receiver in &same {
                select = select.recv(receiver, |_| unreachable!());
            }
            select.wait()
        });
        until_waiting(&waits);
        waits.cancel();
        let ended: Result<(), _> = waits.join();
        assert!(ended.unwrap_err().is_cancelled());
        for (sender, receiver) in senders.iter().zip(&receivers) {
            sender.send(1).unwrap();
            assert_eq!(receiver.try_recv(), Ok(1));
        }
    }
}

#[test]
fn nothing_is_lost_among_many_channels() {
    const CHANNELS: usize = 8;
    const EACH: usize = 300;
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..CHANNELS).map(|n| channel::bounded(n % 3)).unzip();
    let receiving: Vec<_> = (0..3)
        .map(|nth| {
            let mut open = receivers.clone();
            spawn_nth(nth, move || {
                let mut count = 0;
                while !open.is_empty() {
                    let mut select = Select::new();
                    for (at, receiver) in open.iter().enumerate() {
                        select =
                            select.recv(receiver, move |n: Result<usize, _>| n.err().map(|_| at));
                    }
                    match select.wait() {
                        Some(closed) => drop(open.swap_remove(closed)),
                        None => count += 1,
                    }
                }
                count
            })
        })
        .collect();
    drop(receivers);
    let sending: Vec<_> = senders
        .into_iter()
        .map(|sender| thread::spawn(move || (0..EACH).for_each(|n| sender.send(n).unwrap())))
        .collect();
    sending.into_iter().for_each(|task| task.join().unwrap());
    let sum: usize = receiving.into_iter().map(|task| task.join().unwrap()).sum();
    assert_eq!(sum, CHANNELS * EACH);
}
