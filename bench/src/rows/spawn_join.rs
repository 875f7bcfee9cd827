//! `spawn_join`: a million empty tasks, all spawned, then all joined.

use std::time::{Duration, Instant};

use crate::row::{Better, Column, Peer, Row, Sample, Size, ns_each};

pub const ROW: Row = Row {
    name: "spawn_join",
    about: "1,000,000 empty tasks: all are spawned by `main`, then all are joined. A batch of a \
            tenth comes first, to start the workers, then five of a million. The first touches \
            memory that the program never had; of the other four the median is shown.",
    columns: &[
        Column { key: "again", heading: "ns per task, later batches", better: Better::Less },
        Column { key: "first", heading: "ns per task, first batch", better: Better::Less },
    ],
    peers: &[
        Peer::rust("trine", |size| measure(size, trine)),
        Peer::rust("trine, 1 carrier", |size| measure(size, trine))
            .with_env(&[("TRINE_CARRIERS", "1")]),
        Peer::rust("rayon, scope", |size| measure(size, rayon)),
        Peer::rust("tokio, current thread", tokio_current),
        Peer::rust("tokio, multi-thread", tokio_multi),
        Peer::rust("may", |size| measure(size, may)),
    ],
    limit: Duration::from_secs(60),
};

fn measure(size: Size, batch: impl Fn(usize) -> anyhow::Result<()>) -> anyhow::Result<Sample> {
    let n = size.of(1_000_000, 200_000);
    batch(n / 10)?;
    let timed = || -> anyhow::Result<f64> {
        let start = Instant::now();
        batch(n)?;
        Ok(ns_each(start.elapsed(), n))
    };
    let first = timed()?;
    let mut later = [timed()?, timed()?, timed()?, timed()?];
    later.sort_by(f64::total_cmp);
    Ok(Sample::of("again", (later[1] + later[2]) / 2.0).and("first", first))
}

fn trine(n: usize) -> anyhow::Result<()> {
    let tasks: Vec<_> = (0..n).map(|_| trine::coroutine::spawn(|| ())).collect();
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

fn tokio_current(size: Size) -> anyhow::Result<Sample> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    measure(size, |n| tokio(&runtime, n))
}

fn tokio_multi(size: Size) -> anyhow::Result<Sample> {
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    measure(size, |n| tokio(&runtime, n))
}

fn tokio(runtime: &tokio::runtime::Runtime, n: usize) -> anyhow::Result<()> {
    runtime.block_on(async {
        let tasks: Vec<_> = (0..n).map(|_| tokio::spawn(async {})).collect();
        for task in tasks {
            task.await?;
        }
        Ok(())
    })
}

fn may(n: usize) -> anyhow::Result<()> {
    let spawn = |_| {
        // SAFETY: the coroutine is empty: it touches no thread-local storage and no deep stack.
        unsafe { may::coroutine::spawn(|| ()) }
    };
    let tasks: Vec<_> = (0..n).map(spawn).collect();
    for task in tasks {
        task.join().map_err(|_| anyhow::anyhow!("a coroutine panicked"))?;
    }
    Ok(())
}
