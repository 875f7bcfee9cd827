//! `cancel`: many waiting tasks are cancelled.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::row::{Better, Column, ONE_CARRIER, ONE_PROCESSOR, Peer, Row, Sample, Size};
use crate::rows::runtimes::{current, multi};

pub const ROW: Row = Row {
    name: "cancel",
    about: "100,000 tasks sleep for an hour, each with a value on its stack or in its future whose \
            destructor counts. All are cancelled at once; the row shows the time until all have \
            ended. A coroutine's stack is unwound, a future is only dropped. A goroutine cannot \
            be cancelled: it selects on its timer and on its context, and defers the count.",
    columns: &[
        Column { key: "ms", heading: "ms until all have ended", better: Better::Less },
        Column { key: "dropped", heading: "destructors run", better: Better::Neither },
    ],
    peers: &[
        Peer::rust("trine, scope of coroutines", scope),
        Peer::rust("trine, scope of coroutines, 1 carrier", scope).with_env(ONE_CARRIER),
        Peer::rust("trine, coroutines, one by one", |size| one_by_one(size, coroutine)),
        Peer::rust("trine, futures, one by one", |size| one_by_one(size, future)),
        Peer::rust("tokio, JoinSet, current thread", |size| join_set(size, current()?)),
        Peer::rust("tokio, JoinSet, multi-thread", |size| join_set(size, multi()?)),
        Peer::go("Go, context", "cancel"),
        Peer::go("Go, context, GOMAXPROCS=1", "cancel").with_env(ONE_PROCESSOR),
    ],
    limit: Duration::from_secs(60),
};

/// Longer than any measurement.
const LONG: Duration = Duration::from_secs(3_600);

/// Tasks that are about to sleep.
static ASLEEP: AtomicUsize = AtomicUsize::new(0);

/// Tasks whose destructor has run.
static DROPPED: AtomicUsize = AtomicUsize::new(0);

/// The value that each task holds while it sleeps.
struct Counted;

impl Counted {
    fn new() -> Counted {
        ASLEEP.fetch_add(1, Ordering::Release);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        DROPPED.fetch_add(1, Ordering::Relaxed);
    }
}

fn tasks(size: Size) -> usize {
    size.of(100_000, 20_000)
}

/// The extra time for the last tasks, which count themselves shortly before they sleep.
const SETTLE: Duration = Duration::from_millis(200);

fn sample(since: Instant) -> anyhow::Result<Sample> {
    let ms = since.elapsed().as_secs_f64() * 1e3;
    Ok(Sample::of("ms", ms).and("dropped", DROPPED.load(Ordering::Relaxed) as f64))
}

/// Waits until `n` tasks of trine sleep.
fn settle(n: usize) {
    while ASLEEP.load(Ordering::Acquire) < n {
        trine::time::sleep(Duration::from_millis(1));
    }
    trine::time::sleep(SETTLE);
}

/// The body of a coroutine.
fn sleep() {
    let _held = Counted::new();
    trine::time::sleep(LONG);
}

/// Cancels the coroutine that waits in the scope, which cancels all coroutines of the scope.
fn scope(size: Size) -> anyhow::Result<Sample> {
    let n = tasks(size);
    let owner = trine::coroutine::spawn(move || {
        trine::scope(|scope| (0..n).for_each(|_| drop(scope.coroutine(sleep))))
    });
    settle(n);

    let start = Instant::now();
    owner.cancel();
    let ended = owner.join().flatten();
    anyhow::ensure!(ended.is_err_and(|error| error.is_cancelled()), "not cancelled");
    sample(start)
}

fn coroutine() -> trine::Task<()> {
    trine::coroutine::spawn(sleep)
}

fn future() -> trine::Task<()> {
    trine::future::spawn(async {
        let _held = Counted::new();
        trine::future::sleep(LONG).await;
    })
}

/// Cancels each task by its handle.
fn one_by_one(size: Size, spawn: fn() -> trine::Task<()>) -> anyhow::Result<Sample> {
    let n = tasks(size);
    let tasks: Vec<_> = (0..n).map(|_| spawn()).collect();
    settle(n);

    let start = Instant::now();
    tasks.iter().for_each(trine::Task::cancel);
    for task in tasks {
        let ended = task.join();
        anyhow::ensure!(ended.is_err_and(|error| error.is_cancelled()), "not cancelled");
    }
    sample(start)
}

fn join_set(size: Size, runtime: Runtime) -> anyhow::Result<Sample> {
    let n = tasks(size);
    runtime.block_on(async {
        let mut set = JoinSet::new();
        for _ in 0..n {
            set.spawn(async {
                let _held = Counted::new();
                tokio::time::sleep(LONG).await;
            });
        }
        while ASLEEP.load(Ordering::Acquire) < n {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(SETTLE).await;

        let start = Instant::now();
        set.abort_all();
        while set.join_next().await.is_some() {}
        sample(start)
    })
}
