//! `os_thread`: kernel threads, created and joined.

use std::time::{Duration, Instant};

use crate::row::{Better, Column, Peer, Row, Sample, Size, us_each};

pub const ROW: Row = Row {
    name: "os_thread",
    about: "Threads that do nothing are created and joined: 20,000 one at a time, and 20,000 in \
            batches of 100.",
    columns: &[
        Column { key: "one", heading: "µs per thread", better: Better::Less },
        Column { key: "batch", heading: "µs in batches", better: Better::Less },
    ],
    peers: &[
        Peer::rust("trine, thread::spawn", |size| measure(size, trine)),
        Peer::rust("std, thread::spawn", |size| measure(size, std_threads)),
    ],
    limit: Duration::from_secs(60),
};

/// Measures `batch`, which creates as many threads as it is passed, then joins them.
fn measure(size: Size, batch: impl Fn(usize) -> anyhow::Result<()>) -> anyhow::Result<Sample> {
    let threads = size.of(20_000, 2_000);
    let measure = |at_once: usize| {
        batch(at_once)?;
        let start = Instant::now();
        for _ in 0..threads / at_once {
            batch(at_once)?;
        }
        anyhow::Ok(us_each(start.elapsed(), threads))
    };
    Ok(Sample::of("one", measure(1)?).and("batch", measure(100)?))
}

fn trine(n: usize) -> anyhow::Result<()> {
    let tasks: Vec<_> = (0..n).map(|_| trine::thread::spawn(|| ())).collect();
    for task in tasks {
        task.join()?;
    }
    Ok(())
}

fn std_threads(n: usize) -> anyhow::Result<()> {
    let tasks: Vec<_> = (0..n).map(|_| std::thread::spawn(|| ())).collect();
    for task in tasks {
        task.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    }
    Ok(())
}
