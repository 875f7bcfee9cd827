//! A spawned future as a task: its handle, its turns, its end.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use trine::{Kind, State, coroutine, future, process, task, thread, time};

use super::Probe;
use crate::common::waiting::until;

#[test]
fn a_future_is_joined_and_awaited_from_everywhere() {
    let spawn = || future::spawn(async { 6 * 7 });
    assert_eq!(spawn().join().unwrap(), 42);
    assert_eq!(spawn().kind(), Kind::Coroutine);
    assert_eq!(coroutine::spawn(move || spawn().join()).join().unwrap().unwrap(), 42);
    assert_eq!(thread::spawn(move || spawn().join()).join().unwrap().unwrap(), 42);
    assert_eq!(future::spawn(async move { spawn().await }).join().unwrap().unwrap(), 42);
    assert_eq!(future::block_on(spawn()).unwrap(), 42);
    let inside = process::spawn((), |()| future::spawn(async { 42 }).join().unwrap());
    assert_eq!(inside.join().unwrap(), 42);
    let slow = future::spawn(future::sleep(Duration::MAX));
    assert!(slow.join_timeout(Duration::from_millis(1)).is_err());
}

#[test]
fn a_task_has_its_name_and_its_states() {
    let (open, gate) = mpsc::channel::<()>();
    let (probe, watch) = Probe::new();
    let task = future::Builder::new().name("probe").spawn(async move {
        let own = task::current().unwrap();
        gate.recv().unwrap();
        (own.name, own.state, probe.await, task::current().unwrap().id)
    });
    assert_eq!(task.name().as_deref(), Some("probe"));
    assert_eq!(task.info().location.file(), file!());
    open.send(()).unwrap();
    until(|| task.state() == State::Waiting);
    watch.finish();
    watch.waker().wake();
    let id = task.id();
    let (name, state, value, own) = task.join().unwrap();
    assert_eq!((name.as_deref(), state, value, own), (Some("probe"), State::Running, 42, id));
}

#[test]
fn a_future_is_dropped_before_its_end_is_seen() {
    for _ in 0..500 {
        let (probe, watch) = Probe::new();
        watch.finish();
        assert_eq!(future::spawn(probe).join().unwrap(), 42);
        assert_eq!((watch.polls.load(SeqCst), watch.drops.load(SeqCst)), (1, 1));
    }
}

/// Panics when it is dropped.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

#[test]
fn panics_in_poll_and_drop_end_the_task_alone() {
    let task = future::Builder::new().name("fragile").spawn(async {
        future::sleep(Duration::from_micros(10)).await;
        panic!("in the poll")
    });
    let error = task.join().map(|never: ()| never).unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("in the poll"), "{error}");
    assert!(error.to_string().contains("`fragile`"), "{error}");

    // After the value is there, the destructor still belongs to the task.
    let bomb = Bomb("in the destructor");
    let value = Arc::new(());
    let mut output = Some(Arc::clone(&value));
    let task = future::spawn(poll_fn(move |_| {
        let _ = &bomb;
        Poll::Ready(output.take())
    }));
    let error = task.join().map(drop).unwrap_err();
    assert!(error.to_string().contains("in the destructor"), "{error}");
    assert_eq!(Arc::strong_count(&value), 1);

    // Two panics: the first is the outcome.
    let bomb = Bomb("the second");
    let task = future::spawn(poll_fn(move |_| -> Poll<()> {
        let _ = &bomb;
        panic!("the first")
    }));
    let error = task.join().unwrap_err();
    assert!(error.to_string().contains("the first"), "{error}");

    // A value that is never joined.
    drop(future::spawn(async { Bomb("unwanted") }));
    // A value that is lost to a panic of its future's destructor.
    let bomb = Bomb("in the destructor, with a value that does so too");
    let task = future::spawn(poll_fn(move |_| {
        let _ = &bomb;
        Poll::Ready(Bomb("the value"))
    }));
    let error = task.join().map(std::mem::forget).unwrap_err();
    assert!(error.to_string().contains("with a value"), "{error}");

    // The carriers still work.
    let many: Vec<_> = (0..100).map(|n| future::spawn(async move { n })).collect();
    for (n, task) in many.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n);
    }
}

#[test]
fn futures_and_coroutines_do_not_starve_each_other() {
    let stop = Arc::new(AtomicBool::new(false));
    // More of each than there are carriers: every carrier is busy with both.
    let futures: Vec<_> = (0..16)
        .map(|_| {
            let stop = Arc::clone(&stop);
            future::spawn(poll_fn(move |context| {
                context.waker().wake_by_ref();
                if stop.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending }
            }))
        })
        .collect();
    let coroutines: Vec<_> = (0..16)
        .map(|_| {
            let stop = Arc::clone(&stop);
            coroutine::spawn(move || {
                while !stop.load(SeqCst) {
                    coroutine::yield_now();
                }
            })
        })
        .collect();
    for n in 0..10 {
        let sleep = Duration::from_micros(n * 100);
        future::spawn(future::sleep(sleep)).join().unwrap();
        coroutine::spawn(move || time::sleep(sleep)).join().unwrap();
        future::block_on(future::sleep(sleep));
    }
    stop.store(true, SeqCst);
    for task in futures.into_iter().chain(coroutines) {
        task.join().unwrap();
    }
}

#[test]
fn futures_spawn_futures_and_await_them() {
    fn tree(depth: u32) -> Pin<Box<dyn Future<Output = u32> + Send>> {
        Box::pin(async move {
            if depth == 0 {
                return 1;
            }
            let children = [(); 2].map(|()| future::spawn(tree(depth - 1)));
            let mut sum = 0;
            for child in children {
                sum += child.await.unwrap();
            }
            sum
        })
    }
    assert_eq!(future::spawn(tree(12)).join().unwrap(), 4096);
}

/// Counts its drop, and wakes nothing.
struct Pending(Arc<AtomicUsize>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Future for Pending {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

#[test]
fn a_cancelled_future_is_dropped_and_its_task_says_why() {
    let dropped = Arc::new(AtomicUsize::new(0));
    for round in 1..=2000 {
        let task = trine::future::spawn(Pending(Arc::clone(&dropped)));
        // Before its first turn, in the midst of it, or after.
        for _ in 0..round % 7 {
            std::thread::yield_now();
        }
        task.cancel_because("not wanted");
        let error = task.join().unwrap_err();
        assert!(error.is_cancelled() && error.to_string().contains("not wanted"), "{error}");
        assert_eq!(dropped.load(SeqCst), round);
    }
}

#[test]
fn a_detached_future_is_cancelled_or_abandoned_once() {
    let dropped = Arc::new(AtomicUsize::new(0));
    const ROUNDS: usize = 5000;
    for _ in 0..ROUNDS {
        let task = trine::future::spawn(Pending(Arc::clone(&dropped)));
        let canceller = task.canceller();
        let other = trine::coroutine::spawn(move || canceller.cancel());
        drop(task);
        other.join().unwrap();
    }
    while dropped.load(SeqCst) < ROUNDS {
        std::thread::yield_now();
    }
}
