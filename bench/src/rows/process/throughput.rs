//! `process_throughput`: a stream of small tasks through a pool of processes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use trine::{Executor, Kind, TaskError};

use super::calls::next;
use crate::row::{Better, Column, Peer, Row, Sample, Size};

pub const ROW: Row = Row {
    name: "process_throughput",
    about: "Many `u64` → `u64` tasks go through a warm pool of two workers (`Kind::Process`: one \
            for each core), and all results are taken. Where tasks are spawned, 2,000 are kept \
            outstanding; procspawn has 200, because each takes up to four of its descriptors. \
            trine's map packs many tiny tasks into one message by itself, and each still succeeds \
            or fails alone. A chunk of Python's fails as a whole. Each peer gets enough tasks for \
            a measurable time.",
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

/// Tasks before the measurement.
const WARM: u64 = 1_000;

/// Measures `run`, which runs `n` tasks and returns the sum of their results.
fn measure(n: u64, run: impl Fn(u64) -> anyhow::Result<u64>) -> anyhow::Result<Sample> {
    run(WARM)?;
    let start = Instant::now();
    let sum = run(n)?;
    let rate = n as f64 / start.elapsed().as_secs_f64();
    anyhow::ensure!(sum == n * (n + 1) / 2, "a wrong result");
    Ok(Sample::of("rate", rate))
}

/// Returns a number of trine's tasks that takes half a second at least.
const fn many(size: Size, full: u64) -> u64 {
    if size.quick { full / 4 } else { full }
}

/// Tasks of a map, which chooses itself how many it keeps outstanding.
const MAPPED: u64 = 8_000_000;

/// Tasks that are spawned one by one.
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

/// A call takes two channels of sockets, so many more would exceed the usual limit on descriptors.
fn procspawn_pool(size: Size) -> anyhow::Result<Sample> {
    let pool = procspawn::Pool::new(2)?;
    measure(size.of(20_000, 4_000), |n| {
        windowed(n, 200, |i| pool.spawn(i, next), |task| Ok(task.join()?))
    })
}

/// Keeps `window` tasks outstanding, joins the oldest first, and returns the sum of the results.
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
