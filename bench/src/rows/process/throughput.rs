//! `process_throughput`: a stream of small tasks through a pool of processes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use trine::{Executor, Kind, TaskError};

use super::calls::next;
use crate::row::{Better, Column, Peer, Row, Sample, Size};

pub const ROW: Row = Row {
    name: "process_throughput",
    about: "Many `u64` → `u64` tasks through a warm pool of two workers (`Kind::Process`: one for \
            each core), all results taken. Where spawn is used, 2,000 tasks are kept outstanding, \
            of procspawn 200: it takes up to four descriptors for each. trine's map sends tiny tasks many \
            at a time by itself, and each has an answer and a fate of its own. A chunk of Python's \
            fails as one. Each peer has as many tasks as fill its time.",
    columns: &[Column { key: "rate", heading: "tasks/s", better: Better::More }],
    peers: &[
        Peer::rust("trine, process::Pool, map", trine_map),
        Peer::rust("trine, process::Pool, unordered map", trine_unordered),
        Peer::rust("trine, Kind::Process, map", trine_kind),
        Peer::rust("trine, process::Pool, spawn", trine_spawn),
        Peer::rust("procspawn, Pool, spawn", procspawn_pool),
        Peer::python("Python multiprocessing.Pool, map, one by one", "throughput.py", "pool_one"),
        Peer::python("Python multiprocessing.Pool, imap", "throughput.py", "pool_imap"),
        Peer::python("Python multiprocessing.Pool, map, chunked", "throughput.py", "pool_chunked"),
        Peer::python("Python ProcessPoolExecutor, map", "throughput.py", "executor_one"),
        Peer::python(
            "Python ProcessPoolExecutor, map, chunks of 1,000",
            "throughput.py",
            "executor_chunked",
        ),
        Peer::loky("Python loky, map", "throughput.py", "loky_one"),
        Peer::loky("Python loky, map, chunks of 1,000", "throughput.py", "loky_chunked"),
    ],
    limit: Duration::from_secs(60),
};

/// Tasks before the counting begins.
const WARM: u64 = 1_000;

/// `run` puts this many tasks through and returns the sum of their results.
fn measure(n: u64, run: impl Fn(u64) -> anyhow::Result<u64>) -> anyhow::Result<Sample> {
    run(WARM)?;
    let start = Instant::now();
    let sum = run(n)?;
    let rate = n as f64 / start.elapsed().as_secs_f64();
    anyhow::ensure!(sum == n * (n + 1) / 2, "a wrong result");
    Ok(Sample::of("rate", rate))
}

/// Tasks of ours: enough for half a second, at the least.
const fn many(size: Size, full: u64) -> u64 {
    if size.quick { full / 4 } else { full }
}

/// Of a map, which keeps as many outstanding as it thinks right.
const MAPPED: u64 = 8_000_000;

/// One by one.
const SPAWNED: u64 = 1_000_000;

fn trine_map(size: Size) -> anyhow::Result<Sample> {
    let pool = trine::process::Pool::new(2);
    measure(many(size, MAPPED), |n| sum(pool.map(0..n, next)))
}

fn trine_unordered(size: Size) -> anyhow::Result<Sample> {
    let pool = trine::process::Pool::new(2);
    measure(many(size, MAPPED), |n| sum(pool.map(0..n, next).unordered()))
}

fn trine_kind(size: Size) -> anyhow::Result<Sample> {
    measure(many(size, MAPPED), |n| sum(Kind::Process.map(0..n, next)))
}

fn sum(results: impl Iterator<Item = Result<u64, TaskError>>) -> anyhow::Result<u64> {
    Ok(results.sum::<Result<u64, _>>()?)
}

fn trine_spawn(size: Size) -> anyhow::Result<Sample> {
    let pool = trine::process::Pool::new(2);
    measure(many(size, SPAWNED), |n| {
        windowed(n, 2_000, |i| pool.spawn(i, next), |task| Ok(task.join()?))
    })
}

/// Each call takes two channels of sockets: far more would meet the usual limit on descriptors.
fn procspawn_pool(size: Size) -> anyhow::Result<Sample> {
    let pool = procspawn::Pool::new(2)?;
    measure(size.of(20_000, 4_000), |n| {
        windowed(n, 200, |i| pool.spawn(i, next), |task| Ok(task.join()?))
    })
}

/// Keeps `window` tasks outstanding, joins the oldest first, and sums up.
fn windowed<T>(
    n: u64,
    window: usize,
    spawn: impl Fn(u64) -> T,
    join: impl Fn(T) -> anyhow::Result<u64>,
) -> anyhow::Result<u64> {
    let mut outstanding = VecDeque::with_capacity(window);
    let mut sum = 0;
    for i in 0..n {
        if outstanding.len() == window {
            sum += outstanding.pop_front().map_or(Ok(0), &join)?;
        }
        outstanding.push_back(spawn(i));
    }
    for task in outstanding {
        sum += join(task)?;
    }
    Ok(sum)
}
