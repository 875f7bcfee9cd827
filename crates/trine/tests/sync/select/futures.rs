//! The arm `future` of a `select!`.

use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll};
use std::time::Duration;

use trine::net::UnixStream;
use trine::process::Command;
use trine::signal::{self, Signal, Signals};
use trine::sync::channel;
use trine::sync::select;
use trine::{coroutine, future};

use super::LONG;
use crate::common::places::{PLACES, everywhere, spawn_nth};
use crate::common::waiting::until_waiting;

/// A future that is never ready, and counts its drops.
struct Never(Arc<AtomicUsize>);

impl Future for Never {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Never {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn what_is_no_channel_goes_as_an_arm() {
    for place in PLACES {
        let (one, other) = UnixStream::pair().unwrap();
        let (sender, receiver) = channel::bounded::<u8>(1);
        let waits = place.spawn(move || {
            let _sender = sender;
            select! {
                recv(receiver) -> _ => unreachable!(),
                future(one.readable()) -> ready => ready.map(|()| one.try_read(&mut [0]).unwrap()),
            }
        });
        until_waiting(&waits);
        other.try_write(b"!").unwrap();
        assert_eq!(waits.join().unwrap().unwrap(), 1);
    }
    everywhere(|| {
        let process = Command::new("sleep").arg("600").spawn().unwrap().process();
        select! {
            future(process.wait_async()) -> _ => unreachable!(),
            default => process.kill().unwrap(),
        }
        select! {
            future(process.wait_async()) -> status => assert!(!status.unwrap().success()),
            timeout(LONG) => unreachable!(),
        }
    });
    let signals = Signals::new([Signal::WINCH]).unwrap();
    for _ in 0..3 {
        select! {
            future(signals.recv_async()) -> _ => unreachable!(),
            default => signal::raise(Signal::WINCH).unwrap(),
        }
        select! {
            future(signals.recv_async()) -> signal => assert_eq!(signal.unwrap(), Signal::WINCH),
            timeout(LONG) => unreachable!(),
        }
    }
}

#[test]
fn a_losing_future_is_dropped_before_the_arm_runs_and_a_borrowed_one_goes_on() {
    everywhere(|| {
        let dropped = Arc::new(AtomicUsize::new(0));
        select! {
            future(Never(Arc::clone(&dropped))) -> () => unreachable!(),
            future(ready(7)) -> n => {
                assert_eq!((n, dropped.load(SeqCst)), (7, 1));
            }
        }
        let (sender, receiver) = channel::bounded(1);
        let mut receive = pin!(receiver.recv_async());
        for n in 0..3 {
            select! {
                future(receive.as_mut()) -> _ => unreachable!(),
                future(ready(n)) -> same => assert_eq!(same, n),
            }
        }
        sender.send(8).unwrap();
        select! {
            future(receive.as_mut()) -> n => assert_eq!(n, Ok(8)),
            timeout(LONG) => unreachable!(),
        }
    });
}

#[test]
fn a_look_polls_a_future_once() {
    let polls = AtomicUsize::new(0);
    // Wakes itself in each poll.
    let busy = || {
        poll_fn(|context| {
            polls.fetch_add(1, SeqCst);
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        })
    };
    let never = channel::never::<()>();
    select! {
        future(busy()) -> () => unreachable!(),
        recv(never) -> _ => unreachable!(),
        default => {}
    }
    assert_eq!(polls.load(SeqCst), 1);
    select! {
        future(busy()) -> () => unreachable!(),
        timeout(Duration::ZERO) => {}
    }
    assert_eq!(polls.load(SeqCst), 2);
    select! {
        future(busy()) -> () => unreachable!(),
        timeout(Duration::from_millis(1)) => {}
    }
    assert!(polls.load(SeqCst) > 3);
}

#[test]
fn nothing_is_lost_between_a_channel_and_a_future() {
    const EACH: usize = 2000;
    for nth in 0..4 {
        let (a, from_a) = channel::bounded(1);
        let (b, from_b) = channel::bounded(1);
        let senders: Vec<_> = [a, b]
            .into_iter()
            .enumerate()
            .map(|(side, sender)| {
                spawn_nth(nth / 2 + side, move || (0..EACH).for_each(|n| sender.send(n).unwrap()))
            })
            .collect();
        let receivers: Vec<_> = (0..2)
            .map(|other| {
                let (from_a, from_b) = (from_a.clone(), from_b.clone());
                spawn_nth(nth + other, move || {
                    let (mut count, mut open_a, mut open_b) = (0, true, true);
                    let never = channel::never();
                    while open_a || open_b {
                        let got = select! {
                            recv(if open_a { &from_a } else { &never }) -> n => {
                                open_a = n.is_ok();
                                n.is_ok()
                            }
                            future(if open_b { &from_b } else { &never }.recv_async()) -> n => {
                                open_b = n.is_ok();
                                n.is_ok()
                            }
                        };
                        count += usize::from(got);
                    }
                    count
                })
            })
            .collect();
        senders.into_iter().for_each(|task| task.join().unwrap());
        let sum: usize = receivers.into_iter().map(|task| task.join().unwrap()).sum();
        assert_eq!(sum, 2 * EACH);
    }
}

#[test]
fn a_cancelled_wait_drops_the_future_and_leaves_the_channel() {
    for place in PLACES {
        let dropped = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = channel::bounded(1);
        let (never, same) = (Never(Arc::clone(&dropped)), receiver.clone());
        let waits = place.spawn(move || {
            select! {
                future(never) -> () => unreachable!(),
                future(same.recv_async()) -> _ => unreachable!(),
                recv(same) -> _ => unreachable!(),
            }
        });
        until_waiting(&waits);
        waits.cancel();
        let ended: Result<(), _> = waits.join();
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(dropped.load(SeqCst), 1);
        // Neither the arm nor the future is left there to take it.
        sender.send(5).unwrap();
        assert_eq!(receiver.try_recv(), Ok(5));
    }
}

#[test]
fn a_deadline_around_it_ends_the_wait() {
    everywhere(|| {
        let waited = trine::time::timeout(Duration::from_millis(1), || {
            select! { future(pending::<()>()) -> () => {} }
        });
        assert!(waited.is_err());
    });
}

#[test]
fn a_future_that_panics_leaves_no_waiter_behind() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("as expected"));
        }
    }
    let (sender, receiver) = channel::bounded(1);
    let in_poll = catch_unwind(AssertUnwindSafe(|| {
        let mut polls = 0;
        select! {
            recv(receiver) -> _ => unreachable!(),
            future(poll_fn(|context| {
                polls += 1;
                context.waker().wake_by_ref();
                if polls == 2 { std::panic::resume_unwind(Box::new("as expected")) }
                Poll::<()>::Pending
            })) -> () => unreachable!(),
        }
    }));
    assert_eq!(in_poll.unwrap_err().downcast_ref(), Some(&"as expected"));
    sender.send(6).unwrap();
    // The message that was received beside it is put back.
    let in_drop = catch_unwind(AssertUnwindSafe(|| {
        let bomb = Bomb;
        select! {
            recv(receiver) -> _ => unreachable!(),
            future(async move {
                let _bomb = &bomb;
                pending::<()>().await
            }) -> () => unreachable!(),
        }
    }));
    assert_eq!(in_drop.unwrap_err().downcast_ref(), Some(&"as expected"));
    assert_eq!(receiver.try_recv(), Ok(6));
}

#[test]
fn a_future_is_woken_from_anywhere() {
    for nth in 0..4 {
        let (sender, receiver) = channel::unbounded();
        let waits = spawn_nth(nth, move || {
            let mut count = 0;
            loop {
                let more = select! {
                    future(receiver.recv_async()) -> n => n.is_ok(),
                    future(future::sleep(LONG)) -> () => unreachable!(),
                };
                if !more {
                    break count;
                }
                count += 1;
            }
        });
        for _ in 0..100 {
            sender.send(()).unwrap();
            coroutine::yield_now();
        }
        drop(sender);
        assert_eq!(waits.join().unwrap(), 100);
    }
}
