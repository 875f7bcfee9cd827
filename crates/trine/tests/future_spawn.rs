//! Future tasks: wakers under any caller, panics, drops, joins, sleeps, and nobody left to wake.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use trine::{Kind, State, Task, coroutine, future, process, task, thread, time};

mod common;

use common::waiting::until;

/// What a test and its [`Probe`] share.
#[derive(Default)]
struct Watch {
    polls: AtomicUsize,
    drops: AtomicUsize,
    inside: AtomicBool,
    ready: AtomicBool,
    ended: AtomicBool,
    /// The waker of the latest poll.
    waker: Mutex<Option<Waker>>,
    /// Where the future was dropped.
    dropped_on: Mutex<Option<String>>,
}

impl Watch {
    fn finish(&self) {
        self.ready.store(true, SeqCst);
    }

    fn waker(&self) -> Waker {
        self.waker.lock().unwrap().clone().expect("it was polled")
    }

    fn take_waker(&self) -> Waker {
        self.waker.lock().unwrap().take().expect("it was polled")
    }
}

/// A future that is ready when it is told to, and checks how it is treated.
struct Probe(Arc<Watch>);

impl Probe {
    fn new() -> (Probe, Arc<Watch>) {
        let watch = Arc::new(Watch::default());
        (Probe(Arc::clone(&watch)), watch)
    }

    /// A task that has been polled and waits.
    fn waiting() -> (Task<u32>, Arc<Watch>) {
        let (probe, watch) = Probe::new();
        let task = future::spawn(probe);
        until(|| task.state() == State::Waiting);
        (task, watch)
    }
}

impl Future for Probe {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u32> {
        let watch = &self.0;
        assert!(!watch.inside.swap(true, SeqCst), "polled by two at once");
        assert!(!watch.ended.load(SeqCst), "polled after its end");
        watch.polls.fetch_add(1, SeqCst);
        let old = watch.waker.lock().unwrap().replace(context.waker().clone());
        drop(old);
        let poll = match watch.ready.load(SeqCst) {
            true => Poll::Ready(42),
            false => Poll::Pending,
        };
        watch.ended.store(poll.is_ready(), SeqCst);
        watch.inside.store(false, SeqCst);
        poll
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        *self.0.dropped_on.lock().unwrap() = Some(name);
        self.0.drops.fetch_add(1, SeqCst);
    }
}

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
    // A thread and a future hand a number to and fro; each write is announced by a wake-up only.
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
    // Whatever a carrier does with a wake-up, it does it before what is spawned later.
    for _ in 0..100 {
        future::spawn(async {}).join().unwrap();
    }
    assert_eq!(watch.polls.load(SeqCst), polls);
    // The one in the static stays for good, as does its task's memory.
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

    // After the value was there: the destructor belongs to the task.
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

    // Two panics: the first one is the outcome.
    let bomb = Bomb("the second");
    let task = future::spawn(poll_fn(move |_| -> Poll<()> {
        let _ = &bomb;
        panic!("the first")
    }));
    let error = task.join().unwrap_err();
    assert!(error.to_string().contains("the first"), "{error}");

    // A value that nobody wants.
    drop(future::spawn(async { Bomb("unwanted") }));
    // And one whose future panics first.
    let bomb = Bomb("in the destructor, with a value that does so too");
    let task = future::spawn(poll_fn(move |_| {
        let _ = &bomb;
        Poll::Ready(Bomb("the value"))
    }));
    let error = task.join().map(std::mem::forget).unwrap_err();
    assert!(error.to_string().contains("with a value"), "{error}");

    // The carriers are whole.
    let many: Vec<_> = (0..100).map(|n| future::spawn(async move { n })).collect();
    for (n, task) in many.into_iter().enumerate() {
        assert_eq!(task.join().unwrap(), n);
    }
}

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
    // Once more with a longer one, if it was over before it had moved.
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
    // Nothing is set that could keep a waker.
    until(|| Arc::strong_count(&early) == 1);
    until(|| Arc::strong_count(&late) == 1);
    // Dropped elsewhere than it was set.
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
    // Carriers that are awake ring on the spot.
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
        // Each poll has a waker of its own; the last ones come about when the alarm rings.
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
    // Without a handle it is dropped, by its carrier.
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
        // Where it was woken it has left another waker.
        drop(watch.waker.lock().unwrap().take());
        until(|| {
            drop(watch.waker.lock().unwrap().take());
            watch.drops.load(SeqCst) == 1
        });
    }
}

#[test]
fn futures_and_coroutines_do_not_starve_each_other() {
    let stop = Arc::new(AtomicBool::new(false));
    // More than there are carriers, of each: every one is busy with both.
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

/// Tells of its drop, wakes nobody.
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
