//! `future::sleep`.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use trine::{coroutine, future};

use crate::common::waiting::until;

#[test]
fn a_hundred_thousand_futures_sleep_and_are_joined() {
    let tasks: Vec<_> = (0..100_000_u64)
        .map(|n| {
            future::spawn(async move {
                let begin = Instant::now();
                let sleep = Duration::from_micros(n % 3000);
                future::sleep(sleep).await;
                assert!(begin.elapsed() >= sleep);
                n
            })
        })
        .collect();
    let sum: u64 = tasks.into_iter().map(|task| task.join().unwrap()).sum();
    assert_eq!(sum, 100_000 * 99_999 / 2);
}

#[test]
fn sleeps_are_cancelled_when_they_are_dropped() {
    let tasks: Vec<_> = (0..1000)
        .map(|n| {
            future::spawn(async move {
                let soon = future::timeout(Duration::from_secs(3600), async move {
                    future::sleep(Duration::from_micros(n)).await;
                    n
                });
                let never = future::timeout(Duration::from_micros(n), pending::<()>());
                (soon.await, never.await)
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let (soon, never) = task.join().unwrap();
        assert_eq!(soon.unwrap(), n as u64);
        assert!(never.unwrap_err().is_timeout());
    }
}

/// A waker that unparks a thread.
struct Unpark(std::thread::Thread, AtomicUsize);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, SeqCst);
        self.0.unpark();
    }
}

#[test]
fn a_sleep_works_in_any_executor_and_may_move_between_threads() {
    let poll = |sleep: Pin<&mut future::Sleep>, waker: &Waker| {
        sleep.poll(&mut Context::from_waker(waker)).is_ready()
    };
    let [early, late] =
        [(); 2].map(|()| Arc::new(Unpark(std::thread::current(), AtomicUsize::new(0))));
    // Tries a longer delay if the sleep was over before it had moved.
    for delay in [5, 50, 500, 5_000, 50_000].map(Duration::from_millis) {
        let deadline = Instant::now() + delay;
        let mut sleep = Box::pin(future::sleep_until(deadline));
        // Begun here, polled by a carrier, ended here with another waker.
        let begun = !poll(sleep.as_mut(), &Waker::from(Arc::clone(&early)));
        let mut sleep = Some(sleep);
        let moved = future::spawn(poll_fn(move |context| {
            let mut sleep = sleep.take().unwrap();
            let pending = sleep.as_mut().poll(context).is_pending();
            Poll::Ready((sleep, pending))
        }));
        let (mut sleep, pending) = moved.join().unwrap();
        if !(begun && pending) {
            continue;
        }
        let waker = Waker::from(Arc::clone(&late));
        while !poll(sleep.as_mut(), &waker) {
            std::thread::park();
        }
        assert!(Instant::now() >= deadline);
        break;
    }
    // No timer is left that could hold a waker.
    until(|| Arc::strong_count(&early) == 1);
    until(|| Arc::strong_count(&late) == 1);
    // Dropped on another thread than the one that set its timer.
    let dropped = future::spawn(poll_fn(move |context| {
        let mut sleep = Box::pin(future::sleep(Duration::from_secs(3600)));
        assert!(sleep.as_mut().poll(context).is_pending());
        Poll::Ready(sleep)
    }));
    drop(dropped.join().unwrap());
    future::block_on(future::sleep(Duration::from_millis(1)));
    coroutine::spawn(|| future::block_on(future::sleep(Duration::from_millis(1)))).join().unwrap();
}

#[test]
fn a_sleep_wakes_the_waker_of_its_last_poll() {
    // Carriers that are awake fire timers at once.
    let stop = Arc::new(AtomicBool::new(false));
    let busy = [(); 2].map(|()| {
        let stop = Arc::clone(&stop);
        coroutine::spawn(move || {
            while !stop.load(SeqCst) {
                coroutine::yield_now();
            }
        })
    });
    for _ in 0..2000 {
        let mut sleep = Box::pin(future::sleep(Duration::from_micros(30)));
        let mut given = Vec::new();
        // Each poll has a waker of its own. The last ones are set about when the timer fires.
        loop {
            let new = Arc::new(Unpark(std::thread::current(), AtomicUsize::new(0)));
            let waker = Waker::from(Arc::clone(&new));
            if sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                break;
            }
            drop(waker);
            given.push(new);
        }
        let _last = given.pop();
        for earlier in given {
            until(|| Arc::strong_count(&earlier) == 1);
            assert_eq!(earlier.1.load(SeqCst), 0, "woken in place of a later one");
        }
    }
    stop.store(true, SeqCst);
    for task in busy {
        task.join().unwrap();
    }
}
