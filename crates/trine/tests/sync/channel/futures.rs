//! The awaited calls.

use std::pin::pin;
use std::task::{Context, Waker};

use trine::sync::channel::{self, TrySendError};
use trine::{coroutine, future};

use crate::common::places::spawn_nth;
use crate::common::waiting::until_waiting;
use crate::common::wakers::{panics_when_dropped, panics_when_woken};

use super::flavours;

#[test]
fn futures_that_are_dropped_lose_nothing() {
    for (flavour, (sender, receiver)) in flavours() {
        let mut context = Context::from_waker(Waker::noop());
        {
            let mut first = pin!(receiver.recv_async());
            let mut second = pin!(receiver.recv_async());
            assert!(first.as_mut().poll(&mut context).is_pending());
            assert!(second.as_mut().poll(&mut context).is_pending());
            sender.try_send(1).unwrap();
            // Both are dropped. The first had the message, which passes through the second.
        }
        if sender.capacity() == Some(0) {
            // There is room for a message that comes back, and it is the next.
            assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
        }
        assert_eq!(receiver.try_recv(), Ok(1), "{flavour}");
        assert!(receiver.try_recv().unwrap_err().is_empty());

        while sender.capacity().is_some() && sender.try_send(0).is_ok() {}
        if sender.capacity().is_some() {
            let mut late = Box::pin(sender.send_async(3));
            assert!(late.as_mut().poll(&mut context).is_pending());
            drop(late);
            assert!(receiver.try_iter().all(|n| n == 0), "{flavour}: it was taken back");
        }
    }
}

#[test]
fn async_and_plain_code_share_a_channel() {
    for (flavour, (sender, receiver)) in flavours::<u64>() {
        let sending: Vec<_> = (0..4)
            .map(|nth| {
                let sender = sender.clone();
                spawn_nth(nth, move || {
                    for n in 1..=300 {
                        if nth < 2 {
                            sender.send(n).unwrap();
                        } else {
                            future::block_on(sender.send_async(n)).unwrap();
                        }
                    }
                })
            })
            .collect();
        drop(sender);
        let plain = receiver.clone();
        let task = coroutine::spawn(move || plain.iter().sum::<u64>());
        let sum = future::block_on(async {
            let mut sum = 0;
            while let Ok(n) = receiver.recv_async().await {
                sum += n;
            }
            sum
        });
        assert_eq!(sum + task.join().unwrap(), 4 * 300 * 301 / 2, "{flavour}");
        sending.into_iter().for_each(|task| task.join().unwrap());
    }
}

#[test]
fn a_waker_that_panics_leaves_no_other_waiter_of_a_closing_channel_asleep() {
    for (flavour, (sender, receiver)) in flavours::<u32>() {
        let waker = panics_when_woken();
        let mut foreign: Vec<_> = (0..40).map(|_| Box::pin(receiver.recv_async())).collect();
        let mut tasks = Vec::new();
        for (nth, future) in foreign.iter_mut().enumerate() {
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            let receiver = receiver.clone();
            let task = spawn_nth(nth, move || receiver.recv());
            until_waiting(&task);
            tasks.push(task);
        }
        drop(sender);
        for task in tasks {
            assert!(task.join().unwrap().is_err(), "{flavour}");
        }
    }
    // The other side.
    let (sender, receiver) = channel::rendezvous();
    let mut foreign = pin!(sender.send_async(1));
    let waker = panics_when_woken();
    assert!(foreign.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let second = sender.clone();
    let task = coroutine::spawn(move || second.send(2));
    until_waiting(&task);
    drop(receiver);
    assert!(task.join().unwrap().is_err());
}

#[test]
fn an_operation_is_complete_even_if_the_waker_of_the_other_side_panics() {
    for (flavour, (sender, receiver)) in flavours() {
        let waker = panics_when_woken();
        let mut context = Context::from_waker(&waker);
        let mut receiving = pin!(receiver.recv_async());
        assert!(receiving.as_mut().poll(&mut context).is_pending());
        assert_eq!(sender.try_send(1), Ok(()), "{flavour}");
        assert!(receiving.as_mut().poll(&mut context).is_ready());

        while sender.capacity().is_some() && sender.try_send(2).is_ok() {}
        if sender.capacity().is_some() {
            let mut sending = pin!(sender.send_async(2));
            assert!(sending.as_mut().poll(&mut context).is_pending());
            assert_eq!(receiver.recv(), Ok(2), "{flavour}");
            assert!(sending.as_mut().poll(&mut context).is_ready());
        }
    }
}

#[test]
fn a_replaced_waker_may_panic_when_it_is_dropped() {
    let (sender, receiver) = channel::bounded(1);
    let mut receiving = pin!(receiver.recv_async());
    let waker = panics_when_dropped();
    assert!(receiving.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    // The channel's clone is the last one.
    drop(waker);
    let mut context = Context::from_waker(Waker::noop());
    assert!(receiving.as_mut().poll(&mut context).is_pending());
    sender.send(1).unwrap();
    assert!(receiving.as_mut().poll(&mut context).is_ready());
}
