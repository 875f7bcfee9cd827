//! `worker_kill`: the results of a queue of tasks after a worker was killed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};

use crate::row::{Better, Column, Peer, Row, Sample, Size};

pub const ROW: Row = Row {
    name: "worker_kill",
    about: "1,000 tasks are queued at a pool of two workers; one worker is killed by SIGKILL \
            during a task. The row counts the outcomes within 20 s. A task without an answer by \
            then would hang its caller forever.",
    columns: &[
        Column { key: "results", heading: "results", better: Better::Neither },
        Column { key: "errors", heading: "errors", better: Better::Neither },
        Column { key: "unanswered", heading: "no answer", better: Better::Neither },
    ],
    peers: &[
        Peer::rust("trine, process::Pool", trine),
        Peer::rust("procspawn, Pool", procspawn),
        Peer::python("Python multiprocessing.Pool", "worker_kill.py", "pool"),
        Peer::python("Python ProcessPoolExecutor", "worker_kill.py", "executor"),
    ],
    limit: Duration::from_secs(60),
};

const TASKS: u64 = 1_000;
const FATAL: u64 = 100;

/// Returns the next number, or kills its worker. The first two tasks keep both workers busy until
/// all are queued.
fn task(n: u64) -> u64 {
    if n == FATAL {
        let _ = kill_process(getpid(), Signal::KILL);
    }
    std::thread::sleep(if n < 2 { Duration::from_millis(300) } else { Duration::from_micros(200) });
    n + 1
}

/// The outcome of a task at the deadline.
enum Answer {
    Result(u64),
    Error(String),
    Unanswered,
}

/// Counts the answers that arrive before the deadline.
fn measure<T>(
    size: Size,
    tasks: Vec<T>,
    answer: impl Fn(T, Duration) -> Answer,
) -> anyhow::Result<Sample> {
    let deadline = Instant::now() + Duration::from_secs(size.of(20, 3));
    let (mut results, mut unanswered) = (0, 0);
    let (mut errors, mut kinds) = (0, BTreeSet::new());
    for (n, task) in (0..).zip(tasks) {
        match answer(task, deadline.saturating_duration_since(Instant::now())) {
            Answer::Result(result) => {
                anyhow::ensure!(result == n + 1, "a wrong result");
                results += 1;
            }
            Answer::Error(error) => {
                errors += 1;
                kinds.insert(error);
            }
            Answer::Unanswered => unanswered += 1,
        }
    }
    let sample = Sample::of("results", f64::from(results))
        .and("errors", f64::from(errors))
        .and("unanswered", f64::from(unanswered));
    let kinds: Vec<_> = kinds.into_iter().collect();
    Ok(if kinds.is_empty() { sample } else { sample.with_note(kinds.join("; ")) })
}

fn trine(size: Size) -> anyhow::Result<Sample> {
    let pool = trine::process::Pool::new(2);
    let tasks = (0..TASKS).map(|n| pool.spawn(n, task)).collect();
    measure(size, tasks, |task, left| match task.join_timeout(left) {
        Ok(Ok(result)) => Answer::Result(result),
        Ok(Err(error)) => Answer::Error(error.cause().to_string()),
        Err(_) => Answer::Unanswered,
    })
}

fn procspawn(size: Size) -> anyhow::Result<Sample> {
    let pool = procspawn::Pool::new(2)?;
    let tasks = (0..TASKS).map(|n| pool.spawn(n, task)).collect();
    measure(size, tasks, |mut task, left| match task.join_timeout(left) {
        Ok(result) => Answer::Result(result),
        Err(error) if error.is_timeout() => Answer::Unanswered,
        Err(error) => Answer::Error(error.to_string()),
    })
}
