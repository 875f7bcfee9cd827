//! `process_roundtrip`: a number to a warm worker and back.

use std::time::{Duration, Instant};

use crate::row::{Better, Column, Peer, Row, Sample, Size, us_each};

pub const ROW: Row = Row {
    name: "process_roundtrip",
    about: "A `u64` to a warm pool of two workers and a `u64` back, one task at a time.",
    columns: &[Column { key: "us", heading: "µs per task", better: Better::Less }],
    peers: &[
        Peer::rust("trine, process::Pool", trine),
        Peer::rust("procspawn, Pool", procspawn),
        Peer::python("Python multiprocessing.Pool, apply", "roundtrip.py", "pool"),
        Peer::python("Python ProcessPoolExecutor, submit", "roundtrip.py", "executor"),
    ],
    limit: Duration::from_secs(60),
};

/// Tasks before the counting begins.
const WARM: u64 = 200;

fn next(n: u64) -> u64 {
    n + 1
}

fn measure(n: usize, call: impl Fn(u64) -> anyhow::Result<u64>) -> anyhow::Result<Sample> {
    for i in 0..WARM {
        call(i)?;
    }
    let start = Instant::now();
    for i in 0..n as u64 {
        anyhow::ensure!(call(i)? == i + 1, "a wrong result");
    }
    Ok(Sample::of("us", us_each(start.elapsed(), n)))
}

fn trine(size: Size) -> anyhow::Result<Sample> {
    let pool = trine::process::Pool::new(2);
    measure(size.of(20_000, 4_000), |n| Ok(pool.spawn(n, next).join()?))
}

fn procspawn(size: Size) -> anyhow::Result<Sample> {
    let pool = procspawn::Pool::new(2)?;
    measure(size.of(10_000, 2_000), |n| Ok(pool.spawn(n, next).join()?))
}
