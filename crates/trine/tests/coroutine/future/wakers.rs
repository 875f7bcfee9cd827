//! Wakers may be used at any moment, from anywhere, and for any length of time.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use trine::{State, future, task, thread};

use super::Probe;
use crate::common::waiting::until;

#[test]
fn a_thousand_clones_are_used_from_several_threads_at_once() {
    for _ in 0..20 {
        let (task, watch) = Probe::waiting();
        let (threads, each) = (4, 250);
        let barrier = Barrier::new(threads);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                let clones: Vec<Waker> = (0..each).map(|_| watch.waker()).collect();
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    for (n, waker) in clones.into_iter().enumerate() {
                        match n % 3 {
                            0 => waker.wake(),
                            1 => waker.wake_by_ref(),
                            _ => drop(waker.clone()),
                        }
                    }
                });
            }
        });
        let polls = watch.polls.load(SeqCst);
        assert!((1..=1 + threads * each).contains(&polls), "{polls} polls");
        watch.finish();
        watch.waker().wake();
        assert_eq!(task.join().unwrap(), 42);
        assert_eq!(watch.drops.load(SeqCst), 1);
    }
}

#[test]
fn a_wake_up_is_never_lost_and_its_writes_are_seen() {
    // A thread and a future pass a number to and fro; only a wake-up announces each write.
    const ROUNDS: usize = 2_000;
    let shared: Arc<(AtomicUsize, Mutex<Option<Waker>>)> = Arc::default();
    let writer = {
        let shared = Arc::clone(&shared);
        std::thread::spawn(move || {
            for n in 1..=ROUNDS {
                let waker = loop {
                    match shared.1.lock().unwrap().take() {
                        Some(waker) => break waker,
                        None => std::thread::yield_now(),
                    }
                };
                shared.0.store(n, std::sync::atomic::Ordering::Relaxed);
                waker.wake();
            }
        })
    };
    let task = future::spawn(async move {
        for n in 1..=ROUNDS {
            let mut asked = false;
            poll_fn(|context| {
                if shared.0.load(std::sync::atomic::Ordering::Relaxed) >= n {
                    return Poll::Ready(());
                }
                if !asked {
                    asked = true;
                    *shared.1.lock().unwrap() = Some(context.waker().clone());
                }
                Poll::Pending
            })
            .await;
        }
    });
    task.join().unwrap();
    writer.join().unwrap();
}

#[test]
fn woken_while_it_is_polled_it_is_polled_once_more() {
    for wakes in [1, 3, 1000] {
        let polls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&polls);
        let left: Arc<Mutex<Option<Waker>>> = Arc::default();
        let leave = Arc::clone(&left);
        let task = future::spawn(poll_fn(move |context| {
            match count.fetch_add(1, SeqCst) {
                0 => (0..wakes).for_each(|_| context.waker().wake_by_ref()),
                1 => *leave.lock().unwrap() = Some(context.waker().clone()),
                _ => return Poll::Ready(()),
            }
            Poll::Pending
        }));
        until(|| left.lock().unwrap().is_some() && task.state() == State::Waiting);
        assert_eq!(polls.load(SeqCst), 2);
        left.lock().unwrap().take().unwrap().wake();
        task.join().unwrap();
        assert_eq!(polls.load(SeqCst), 3);
    }
}

#[test]
fn a_waker_outlives_the_task_and_does_nothing_then() {
    static KEPT: Mutex<Vec<Waker>> = Mutex::new(Vec::new());
    let (task, watch) = Probe::waiting();
    let wakers: Vec<Waker> = (0..100).map(|_| watch.waker()).collect();
    KEPT.lock().unwrap().push(watch.waker());
    watch.finish();
    wakers[0].wake_by_ref();
    assert_eq!(task.join().unwrap(), 42);
    assert_eq!((watch.drops.load(SeqCst), Arc::strong_count(&watch)), (1, 1));
    let polls = watch.polls.load(SeqCst);
    std::thread::scope(|scope| {
        for waker in wakers {
            scope.spawn(move || {
                waker.wake_by_ref();
                assert!(waker.will_wake(&waker.clone()));
                waker.wake();
            });
        }
    });
    KEPT.lock().unwrap()[0].wake_by_ref();
    // A carrier handles a wake-up before it runs anything that is spawned later.
    for _ in 0..100 {
        future::spawn(async {}).join().unwrap();
    }
    assert_eq!(watch.polls.load(SeqCst), polls);
    // The waker in the static stays, as does its task's memory.
    drop(watch);
}

#[test]
fn every_poll_has_the_same_waker() {
    let mut first: Option<Waker> = None;
    let task = future::spawn(poll_fn(move |context| match &first {
        Some(first) => Poll::Ready(first.will_wake(context.waker())),
        None => {
            first = Some(context.waker().clone());
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }));
    assert!(task.join().unwrap());
}

#[test]
fn a_waker_that_panics_harms_no_carrier() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of another executor");
        }
    }
    let waker = Waker::from(Arc::new(Panics));
    let sleeps: Vec<_> = (0..100)
        .map(|_| {
            let mut sleep = Box::pin(future::sleep(Duration::from_micros(500)));
            let _ = sleep.as_mut().poll(&mut Context::from_waker(&waker));
            sleep
        })
        .collect();
    future::spawn(future::sleep(Duration::from_millis(2))).join().unwrap();
    drop(sleeps);
}

#[test]
fn who_nobody_can_wake_waits_as_long_as_there_is_a_handle() {
    let (task, watch) = Probe::waiting();
    let id = task.id();
    drop(watch.take_waker());
    assert_eq!((task.state(), watch.drops.load(SeqCst)), (State::Waiting, 0));
    assert!(task::list().iter().any(|info| info.id == id && info.state == State::Waiting));
    let task = task.join_timeout(Duration::from_millis(1)).unwrap_err();
    // Without a handle its carrier drops it.
    drop(task);
    until(|| watch.drops.load(SeqCst) == 1);
    let thread = watch.dropped_on.lock().unwrap().take().unwrap();
    assert!(thread.starts_with("trine-co-"), "dropped on `{thread}`");
    until(|| task::list().iter().all(|info| info.id != id));
    assert_eq!(watch.polls.load(SeqCst), 1);
}

#[test]
fn the_last_waker_may_go_under_a_lock_that_the_destructor_wants() {
    struct Locks(Arc<Mutex<Vec<Waker>>>, mpsc::Sender<()>);
    impl Drop for Locks {
        fn drop(&mut self) {
            self.0.lock().unwrap().clear();
            self.1.send(()).unwrap();
        }
    }
    for _ in 0..100 {
        let wakers = Arc::new(Mutex::new(Vec::new()));
        let (send, dropped) = mpsc::channel();
        let (locks, leave) = (Locks(Arc::clone(&wakers), send), Arc::clone(&wakers));
        drop(future::spawn(poll_fn(move |context| -> Poll<()> {
            let _ = &locks;
            let clones = (0..10).map(|_| context.waker().clone());
            leave.lock().unwrap().extend(clones);
            Poll::Pending
        })));
        until(|| !wakers.lock().unwrap().is_empty());
        wakers.lock().unwrap().clear();
        dropped.recv().unwrap();
    }
}

#[test]
fn a_detached_future_that_leaves_no_waker_is_dropped_in_its_turn() {
    let begun: Vec<_> = (0..100)
        .map(|_| {
            let (mut probe, watch) = Probe::new();
            drop(future::spawn(async move {
                let _ = Pin::new(&mut probe).poll(&mut Context::from_waker(Waker::noop()));
                pending::<()>().await;
            }));
            watch
        })
        .collect();
    for watch in begun {
        until(|| watch.drops.load(SeqCst) == 1);
    }
}

#[test]
fn wakers_handles_and_turns_may_end_in_any_order() {
    for round in 0..2_000 {
        let (probe, watch) = Probe::new();
        let task = future::spawn(probe);
        until(|| watch.waker.lock().unwrap().is_some());
        let waker = watch.take_waker();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(task));
            scope.spawn(move || match round % 3 {
                0 => drop(waker),
                1 => waker.wake(),
                _ => {
                    waker.wake_by_ref();
                    drop(waker);
                }
            });
        });
        // If it was woken, it has left another waker.
        drop(watch.waker.lock().unwrap().take());
        until(|| {
            drop(watch.waker.lock().unwrap().take());
            watch.drops.load(SeqCst) == 1
        });
    }
}

#[test]
fn a_wait_inside_a_poll_holds_up_the_carrier_and_loses_no_wake_up() {
    for _ in 0..100 {
        let waker: Arc<Mutex<Option<Waker>>> = Arc::default();
        let left = Arc::clone(&waker);
        let mut polls = 0;
        let task = future::spawn(poll_fn(move |context| {
            polls += 1;
            if polls == 2 {
                return Poll::Ready(());
            }
            *left.lock().unwrap() = Some(context.waker().clone());
            // Waits as a thread, while the waker is used.
            thread::spawn({
                let left = Arc::clone(&left);
                move || left.lock().unwrap().take().unwrap().wake()
            })
            .join()
            .unwrap();
            Poll::Pending
        }));
        task.join().unwrap();
    }
}
