//! `echo`: the cost of a request and its answer over TCP.

use std::process::Command;
use std::time::Duration;

use crate::io::descriptors::raise_limit;
use crate::io::load::echo as load;
use crate::io::serve::Served;
use crate::io::server::Server;
use crate::row::{
    Better, Column, ONE_CARRIER_EPOLL, ONE_CARRIER_URING, ONE_PROCESSOR, Peer, Program, Row,
    Sample, Size,
};

pub const ROW: Row = Row {
    name: "echo",
    about: "A server on core 0 echoes the messages of a load on core 1. 100 and 1,000 connections \
            each send 64 bytes, wait for the echo, and send the next 64, for 3 s after a warm-up \
            of 0.5 s. CPU is the processor time of all threads of the server. Where CPU × \
            requests/s is less than a core, the load was the limit. The bare loops do the same \
            without a runtime, and show the cost of the kernel's interfaces. The first loop on \
            io_uring does RECV in the ring and send(2), like trine; the second does poll, RECV and \
            SEND, all in the ring.",
    columns: &[
        Column { key: "rate_100", heading: "requests/s, 100 connections", better: Better::More },
        Column { key: "p99_100", heading: "µs, p99", better: Better::Less },
        Column { key: "cpu_100", heading: "µs CPU per request", better: Better::Less },
        Column { key: "rate_1000", heading: "requests/s, 1,000", better: Better::More },
        Column { key: "p99_1000", heading: "µs, p99", better: Better::Less },
        Column { key: "cpu_1000", heading: "µs CPU per request", better: Better::Less },
    ],
    peers: &[
        Peer::rust("trine, io_uring", |size| own(Served::EchoTrine, size))
            .with_env(ONE_CARRIER_URING),
        Peer::rust("trine, epoll", |size| own(Served::EchoTrine, size)).with_env(ONE_CARRIER_EPOLL),
        Peer::rust("bare loop, io_uring", |size| own(Served::EchoRing, size)),
        Peer::rust("bare loop, io_uring, all in the ring", |size| own(Served::EchoRingPoll, size)),
        Peer::rust("bare loop, epoll", |size| own(Served::EchoEpoll, size)),
        Peer::rust("tokio, current thread", |size| own(Served::EchoTokio, size)),
        Peer::rust("tokio, multi-thread, 1 worker", |size| own(Served::EchoTokioMulti, size)),
        Peer::rust("monoio", |size| own(Served::EchoMonoio, size)),
        Peer::rust("may, 1 worker", |size| own(Served::EchoMay, size)),
        Peer::with("Go, GOMAXPROCS=1", Program::Go("serve_echo"), echo).with_env(ONE_PROCESSOR),
    ],
    limit: Duration::from_secs(60),
};

fn own(server: Served, size: Size) -> anyhow::Result<Sample> {
    echo(server.command()?, size)
}

fn echo(server: Command, size: Size) -> anyhow::Result<Sample> {
    raise_limit(4_096)?;
    let server = Server::start(server)?;
    let (warm_up, window) = size.of((500, 3_000), (100, 500));
    let mut sample = Sample::default();
    let mut starved = vec![];
    for n in [100, 1_000] {
        let (warm_up, window) = (Duration::from_millis(warm_up), Duration::from_millis(window));
        let measured = load::run(&server, n, warm_up, window)?;
        sample = sample
            .and(&format!("rate_{n}"), measured.per_second)
            .and(&format!("p99_{n}"), measured.p99.as_secs_f64() * 1e6)
            .and(&format!("cpu_{n}"), measured.cpu.as_secs_f64() * 1e6);
        if measured.starved > 0 {
            starved.push(format!("{} of {n} connections got no answer at all", measured.starved));
        }
    }
    Ok(if starved.is_empty() { sample } else { sample.with_note(starved.join(", ")) })
}
