//! The awaited calls.

use std::pin::pin;
use std::task::{Context, Waker};

use trine::sync::channel::TrySendError;
use trine::{coroutine, future};

use crate::common::places::spawn_nth;

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
