//! `spawn_join`: a million empty tasks, all spawned, then all joined.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::row::{
    Better, Column, ONE_CARRIER, ONE_PROCESSOR, Peer, Row, Sample, Size, middle, ns_each, timed,
};
use crate::rows::runtimes::{current, multi};

pub const ROW: Row = Row {
    name: "spawn_join",
    about: "1,000,000 empty tasks are spawned, then all are joined, by `main`, or by a task where \
            the line says so. A batch of a tenth starts the workers; then come five batches of a \
            million. The first of them touches fresh memory; of the other four the median is \
            shown. rayon's and Go's tasks have no handle: a scope or a `WaitGroup` waits for all \
            of them, and no result is kept.",
    columns: &[
        Column { key: "again", heading: "ns per task, later batches", better: Better::Less },
        Column { key: "first", heading: "ns per task, first batch", better: Better::Less },
    ],
    peers: &[
        Peer::rust("trine", |size| measure(size, trine)),
        Peer::rust("trine, by a coroutine", |size| measure(size, trine_inside)),
        Peer::rust("trine, 1 carrier", |size| measure(size, trine)).with_env(ONE_CARRIER),
        Peer::rust("trine, 1 carrier, by a coroutine", |size| measure(size, trine_inside))
            .with_env(ONE_CARRIER),
        Peer::rust("trine, futures", |size| measure(size, trine_futures)),
        Peer::rust("rayon, scope", |size| measure(size, rayon)),
        Peer::rust("tokio, current thread", |size| tokio(size, current()?)),
        Peer::rust("tokio, multi-thread", |size| tokio(size, multi()?)),
        Peer::rust("tokio, multi-thread, by a task", |size| tokio_inside(size, multi()?)),
        Peer::go("Go, by a goroutine", "spawn_join"),
        Peer::go("Go, GOMAXPROCS=1, by a goroutine", "spawn_join").with_env(ONE_PROCESSOR),
        Peer::rust("may", |size| measure(size, may)),
    ],
    limit: Duration::from_secs(60),
};

fn measure(size: Size, batch: impl Fn(usize) -> anyhow::Result<()>) -> anyhow::Result<Sample> {
    let n = size.of(1_000_000, 200_000);
    batch(n / 10)?;
    let first = timed(|| batch(n))?;
    let again = middle(4, || batch(n))?;
    Ok(Sample::of("again", ns_each(again, n)).and("first", ns_each(first, n)))
}

fn trine(n: usize) -> anyhow::Result<()> {
    let tasks: Vec<_> = (0..n).map(|_| trine::coroutine::spawn(|| ())).collect();
    for task in tasks {
        task.join()?;
    }
    Ok(())
}

fn trine_inside(n: usize) -> anyhow::Result<()> {
    trine::coroutine::spawn(move || trine(n)).join()?
}

fn trine_futures(n: usize) -> anyhow::Result<()> {
    let tasks: Vec<_> = (0..n).map(|_| trine::future::spawn(async {})).collect();
    for task in tasks {
        task.join()?;
    }
    Ok(())
}

fn rayon(n: usize) -> anyhow::Result<()> {
    rayon::scope(|scope| {
        for _ in 0..n {
            scope.spawn(|_| ());
        }
    });
    Ok(())
}

fn tokio(size: Size, runtime: Runtime) -> anyhow::Result<Sample> {
    measure(size, |n| runtime.block_on(tokio_batch(n)))
}

fn tokio_inside(size: Size, runtime: Runtime) -> anyhow::Result<Sample> {
    measure(size, |n| runtime.block_on(runtime.spawn(tokio_batch(n)))?)
}

async fn tokio_batch(n: usize) -> anyhow::Result<()> {
    let tasks: Vec<_> = (0..n).map(|_| tokio::spawn(async {})).collect();
    for task in tasks {
        task.await?;
    }
    Ok(())
}

fn may(n: usize) -> anyhow::Result<()> {
    let spawn = |_| {
        // SAFETY: the coroutine is empty: it touches no thread-local storage and needs no stack.
        unsafe { may::coroutine::spawn(|| ()) }
    };
    let tasks: Vec<_> = (0..n).map(spawn).collect();
    for task in tasks {
        task.join().map_err(|_| anyhow::anyhow!("a coroutine panicked"))?;
    }
    Ok(())
}
