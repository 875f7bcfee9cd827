//! `process_crashes`: tasks that sometimes crash, and are run again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use crate::row::{Better, Column, Peer, Row, Sample, Size, median};

pub const ROW: Row = Row {
    name: "process_crashes",
    about: "10,000 tasks run in a pool of two workers. Each aborts its process at random, one time \
            in a hundred, and is then run again, at most twice. The row shows how much longer \
            that takes than 10,000 tasks that never crash, for tasks that compute for 100 µs and \
            for empty ones (medians of several, in turn). Every result is checked. One run in a \
            hundred has a task that crashes three times, and fails permanently. trine runs with \
            `retries(2)`; for procspawn, the caller spawns the failed tasks again. Pools of \
            Python are in `worker_kill`.",
    columns: &[
        Column { key: "busy", heading: "× the time, 100 µs", better: Better::Less },
        Column { key: "empty", heading: "× the time, empty", better: Better::Less },
        Column { key: "busy_ms", heading: "ms with crashes, 100 µs", better: Better::Less },
        Column { key: "empty_ms", heading: "ms with crashes, empty", better: Better::Less },
        Column { key: "failed", heading: "failed permanently", better: Better::Neither },
    ],
    peers: &[
        Peer::rust("trine, process::Pool, retries(2)", trine),
        Peer::rust("trine, retries(2), no back-off", trine_at_once),
        Peer::rust("procspawn, Pool, spawned again", procspawn),
    ],
    limit: Duration::from_secs(120),
};

/// Runs of one task, at most.
const RUNS: u32 = 3;

#[derive(Clone, Copy, Serialize, Deserialize)]
struct Order {
    n: u64,
    /// Microseconds to compute for.
    busy: u64,
    /// True if the task may crash.
    may_crash: bool,
}

fn task(order: Order) -> u64 {
    let start = Instant::now();
    if order.may_crash {
        // From the kernel: workers are forked, so generators in their memory would all agree.
        let mut random = [0; 8];
        let drawn = getrandom(&mut random, GetRandomFlags::empty());
        if drawn == Ok(8) && u64::from_ne_bytes(random).is_multiple_of(100) {
            std::process::abort();
        }
    }
    while start.elapsed() < Duration::from_micros(order.busy) {
        std::hint::spin_loop();
    }
    order.n + 1
}

/// Measures `run`, which runs the tasks and returns the number of those that failed permanently.
fn measure(size: Size, run: impl Fn(Vec<Order>) -> anyhow::Result<u64>) -> anyhow::Result<Sample> {
    let mut sample = Sample::default();
    let mut failed = 0;
    for (key, key_ms, busy) in [("busy", "busy_ms", 100), ("empty", "empty_ms", 0)] {
        let mut once = |may_crash| {
            let tasks = size.of(10_000, 4_000);
            let orders = (0..tasks).map(|n| Order { n, busy, may_crash }).collect();
            let start = Instant::now();
            failed += run(orders)?;
            anyhow::Ok(start.elapsed().as_secs_f64() * 1e3)
        };
        once(false)?;
        let (mut clean, mut crashing) = (vec![], vec![]);
        for _ in 0..size.of(5, 3) {
            clean.push(once(false)?);
            crashing.push(once(true)?);
        }
        let (clean, crashing) = (median(clean), median(crashing));
        sample = sample.and(key, crashing / clean).and(key_ms, crashing);
    }
    Ok(sample.and("failed", failed as f64))
}

fn trine(size: Size) -> anyhow::Result<Sample> {
    pool(size, trine::process::Pool::builder().workers(2).retries(RUNS - 1).build())
}

fn trine_at_once(size: Size) -> anyhow::Result<Sample> {
    let builder = trine::process::Pool::builder().workers(2).retries(RUNS - 1);
    pool(size, builder.backoff(Duration::ZERO).build())
}

fn pool(size: Size, pool: trine::process::Pool) -> anyhow::Result<Sample> {
    measure(size, |orders| {
        let spawn = |order: Order| (order, pool.spawn(order, task));
        let tasks: Vec<_> = orders.into_iter().map(spawn).collect();
        let mut failed = 0;
        for (order, task) in tasks {
            match task.join() {
                Ok(result) => anyhow::ensure!(result == order.n + 1, "a wrong result"),
                Err(error) if error.is_crash() => failed += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(failed)
    })
}

fn procspawn(size: Size) -> anyhow::Result<Sample> {
    let pool = procspawn::Pool::new(2)?;
    measure(size, |orders| {
        let mut orders: VecDeque<_> = orders.into_iter().map(|order| (order, 1)).collect();
        let mut outstanding = VecDeque::new();
        let mut failed = 0;
        loop {
            // Each outstanding task takes up to four descriptors.
            while outstanding.len() < 200
                && let Some((order, run)) = orders.pop_front()
            {
                outstanding.push_back((order, run, pool.spawn(order, task)));
            }
            let Some((order, run, task)) = outstanding.pop_front() else { return Ok(failed) };
            match task.join() {
                Ok(result) => anyhow::ensure!(result == order.n + 1, "a wrong result"),
                Err(_) if run < RUNS => orders.push_back((order, run + 1)),
                Err(_) => failed += 1,
            }
        }
    })
}
