//! `process_roundtrip`: a number to a warm worker and back.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::calls::{next, us_per_call};
use crate::row::{Better, Column, Peer, Row, Sample, Size, median, us_each};

pub const ROW: Row = Row {
    name: "process_roundtrip",
    about: "A `u64` goes to a warm pool of two workers and a `u64` comes back, one task at a time. \
            First back to back, where neither side has reason to sleep. Then with both sides \
            asleep in between: the caller sleeps 300 µs before each task, and each task sleeps \
            300 µs; tasks measure their sleep, and it does not count (the median). The pipes show \
            the cost of two bare system calls on either side, without pool or tasks.",
    columns: &[
        Column { key: "us", heading: "µs per task, back to back", better: Better::Less },
        Column { key: "blocked", heading: "µs, both asleep before", better: Better::Less },
    ],
    peers: &[
        Peer::rust("trine, process::Pool", trine),
        Peer::rust("procspawn, Pool", procspawn),
        Peer::python("Python multiprocessing.Pool, apply", "roundtrip.py", "pool"),
        Peer::python("Python ProcessPoolExecutor, submit", "roundtrip.py", "executor"),
        Peer::loky("Python loky, submit", "roundtrip.py", "loky"),
        Peer::rust("two pipes to a child, bare", pipes),
    ],
    limit: Duration::from_secs(60),
};

/// Tasks before the measurement.
const WARM: u64 = 200;

/// The time that a side sleeps.
const ASLEEP: Duration = Duration::from_micros(300);

/// The argument that makes a task sleep.
const SLEEP: u64 = u64::MAX;

/// Returns the next number; for [`SLEEP`], sleeps and returns the nanoseconds that it has slept.
fn task(n: u64) -> u64 {
    if n != SLEEP {
        return next(n);
    }
    let start = Instant::now();
    std::thread::sleep(ASLEEP);
    start.elapsed().as_nanos() as u64
}

fn measure(
    size: Size,
    n: usize,
    mut call: impl FnMut(u64) -> anyhow::Result<u64>,
) -> anyhow::Result<Sample> {
    for i in 0..WARM {
        call(i)?;
    }
    let hot = us_per_call(n, &mut call)?;

    let mut blocked = || {
        std::thread::sleep(ASLEEP);
        let start = Instant::now();
        let slept = Duration::from_nanos(call(SLEEP)?);
        Ok(us_each(start.elapsed().saturating_sub(slept), 1))
    };
    let all = (0..size.of(2_000, 300)).map(|_| blocked()).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Sample::of("us", hot).and("blocked", median(all)))
}

fn trine(size: Size) -> anyhow::Result<Sample> {
    let pool = trine::process::Pool::new(2);
    measure(size, size.of(100_000, 20_000), |n| Ok(pool.spawn(n, task).join()?))
}

fn procspawn(size: Size) -> anyhow::Result<Sample> {
    let pool = procspawn::Pool::new(2)?;
    measure(size, size.of(10_000, 2_000), |n| Ok(pool.spawn(n, task).join()?))
}

fn pipes(size: Size) -> anyhow::Result<Sample> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("answer").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut to = child.stdin.take().context("no pipe")?;
    let mut from = child.stdout.take().context("no pipe")?;
    let sample = measure(size, size.of(20_000, 4_000), |n| {
        to.write_all(&n.to_ne_bytes())?;
        let mut answer = [0; 8];
        from.read_exact(&mut answer)?;
        Ok(u64::from_ne_bytes(answer))
    });
    drop(to);
    child.wait()?;
    sample
}

/// Runs the child's end of the pipes: answers each number on standard input until its end.
pub fn answer() -> anyhow::Result<()> {
    let (mut from, mut to) = (std::io::stdin().lock(), std::fs::File::from(stdout()?));
    let mut n = [0; 8];
    while from.read_exact(&mut n).is_ok() {
        to.write_all(&task(u64::from_ne_bytes(n)).to_ne_bytes())?;
    }
    Ok(())
}

/// Returns standard output without a buffer.
fn stdout() -> std::io::Result<std::os::fd::OwnedFd> {
    std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned()
}
