//! `connections`: the memory of a silent connection, and the time to serve all at once.

use std::process::Command;
use std::time::Duration;

use crate::io::descriptors::raise_limit;
use crate::io::load::idle::{Crowd, settle};
use crate::io::serve::Served;
use crate::io::server::Server;
use crate::row::{
    Better, Column, ONE_CARRIER_EPOLL, ONE_CARRIER_URING, ONE_PROCESSOR, Peer, Program, Row,
    Sample, Size,
};

pub const ROW: Row = Row {
    name: "connections",
    about: "20,000 connections at once to the servers of `echo`, each with a task that reads. The \
            row shows the growth of the server's `VmRSS` per connection while all are silent, the \
            time until all are answered after each has sent 64 bytes, and the growth after that. \
            Each task has a buffer of 2 KiB. The kernel's memory for the sockets, a few KiB for \
            each, is not included.",
    columns: &[
        Column { key: "bytes", heading: "bytes resident, idle", better: Better::Less },
        Column { key: "ms", heading: "ms until all are answered", better: Better::Less },
        Column { key: "after", heading: "bytes resident, after", better: Better::Less },
        Column { key: "count", heading: "connections", better: Better::Neither },
    ],
    peers: &[
        Peer::rust("trine, io_uring", |size| own(Served::EchoTrine, size))
            .with_env(ONE_CARRIER_URING),
        Peer::rust("trine, epoll", |size| own(Served::EchoTrine, size)).with_env(ONE_CARRIER_EPOLL),
        Peer::rust("tokio, current thread", |size| own(Served::EchoTokio, size)),
        Peer::with("Go, GOMAXPROCS=1", Program::Go("serve_echo"), hold).with_env(ONE_PROCESSOR),
    ],
    limit: Duration::from_secs(240),
};

/// Descriptors that either side needs beside its connections.
const SPARE: u64 = 64;

fn own(server: Served, size: Size) -> anyhow::Result<Sample> {
    hold(server.command()?, size)
}

fn hold(server: Command, size: Size) -> anyhow::Result<Sample> {
    let wanted = size.of(20_000, 4_000);
    let allowed = raise_limit(wanted + SPARE)?;
    let n = wanted.min(allowed.saturating_sub(SPARE)) as usize;
    let server = Server::start(server)?;
    // The first connection makes the runtime allocate its shared state, which must not count.
    drop(Crowd::connect(&server, 1)?);
    settle(&server)?;

    let before = server.kilobytes("VmRSS:")?;
    let grown = || {
        let now = server.kilobytes("VmRSS:")?;
        anyhow::Ok(now.saturating_sub(before) as f64 * 1_024.0 / n as f64)
    };
    let mut crowd = Crowd::connect(&server, n)?;
    let idle = grown()?;
    let took = crowd.speak()?;
    settle(&server)?;
    let sample = Sample::of("bytes", idle)
        .and("ms", took.as_secs_f64() * 1e3)
        .and("after", grown()?)
        .and("count", n as f64);
    Ok(if allowed < wanted + SPARE {
        sample.with_note(format!("no more than {allowed} descriptors (ulimit -Hn)"))
    } else {
        sample
    })
}
