//! `cancel`: many waiting tasks are told to end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::crews::{current, multi};
use crate::row::{Better, Column, ONE_PROCESSOR, Peer, Row, Sample, Size};

pub const ROW: Row = Row {
    name: "cancel",
    about: "100,000 tasks, each asleep for an hour with a value on its stack or in its future whose \
            destructor counts, are cancelled at once: the time until all have ended. A goroutine \
            cannot be cancelled: it selects on its timer and on its context, and defers the count.",
    columns: &[
        Column { key: "ms", heading: "ms until all have ended", better: Better::Less },
        Column { key: "dropped", heading: "destructors run", better: Better::Neither },
    ],
    peers: &[
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

/// What each task holds while it sleeps.
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

/// After the last ones have counted themselves, they may still be on their way to sleep.
const SETTLE: Duration = Duration::from_millis(200);

fn sample(since: Instant) -> anyhow::Result<Sample> {
    let ms = since.elapsed().as_secs_f64() * 1e3;
    Ok(Sample::of("ms", ms).and("dropped", DROPPED.load(Ordering::Relaxed) as f64))
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
