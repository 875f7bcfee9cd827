//! `process_spawn`: a fresh process for each task.

use std::time::Duration;

use super::calls::{next, run_true, us_per_call};
use crate::row::{Better, Column, Peer, Row, Sample, Size};

pub const ROW: Row = Row {
    name: "process_spawn",
    about: "Each task runs in a fresh process, one at a time, until its result is here. `true` \
            runs no task: its line shows the cost of starting any program here.",
    columns: &[Column { key: "us", heading: "µs per process", better: Better::Less }],
    peers: &[
        Peer::rust("trine, process::spawn", trine),
        Peer::rust("procspawn, spawn", procspawn),
        Peer::python("Python multiprocessing.Process, fork", "fresh.py", "fork"),
        Peer::python("Python multiprocessing.Process, forkserver", "fresh.py", "forkserver"),
        Peer::python("Python multiprocessing.Process, spawn", "fresh.py", "spawn"),
        Peer::rust("std::process::Command, true", command),
    ],
    limit: Duration::from_secs(60),
};

fn measure(n: usize, mut call: impl FnMut(u64) -> anyhow::Result<u64>) -> anyhow::Result<Sample> {
    call(0)?;
    Ok(Sample::of("us", us_per_call(n, &mut call)?))
}

fn trine(size: Size) -> anyhow::Result<Sample> {
    measure(size.of(1_000, 200), |n| Ok(trine::process::spawn(n, next).join()?))
}

fn procspawn(size: Size) -> anyhow::Result<Sample> {
    measure(size.of(300, 50), |n| Ok(procspawn::spawn(n, next).join()?))
}

fn command(size: Size) -> anyhow::Result<Sample> {
    measure(size.of(500, 100), |n| {
        run_true()?;
        Ok(n + 1)
    })
}
