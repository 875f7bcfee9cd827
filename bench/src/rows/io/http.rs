//! `http`: the smallest answer of a web server.

use std::process::Command;
use std::time::Duration;

use crate::io::descriptors::raise_limit;
use crate::io::load::wrk;
use crate::io::nginx;
use crate::io::serve::Served;
use crate::io::server::Server;
use crate::row::{
    Better, Column, Example, ONE_CARRIER_EPOLL, ONE_CARRIER_URING, ONE_PROCESSOR, Peer, Program,
    Row, Sample, Size,
};

pub const ROW: Row = Row {
    name: "http",
    about: "\"Hello, world!\" over HTTP/1.1 with keep-alive: the server on core 0, `wrk -t 1 \
            --latency` on core 1 with 64 and with 1,000 connections, for 3 s each after a warm-up \
            of 1 s. CPU is the processor time of all threads of the server. trine's servers are \
            its examples `http_hello` and `hyper`, unchanged; the other servers send the same \
            body, nginx with `return 200`.",
    columns: &[
        Column { key: "rate_64", heading: "requests/s, 64 connections", better: Better::More },
        Column { key: "p99_64", heading: "µs, p99", better: Better::Less },
        Column { key: "cpu_64", heading: "µs CPU per request", better: Better::Less },
        Column { key: "rate_1000", heading: "requests/s, 1,000", better: Better::More },
        Column { key: "p99_1000", heading: "µs, p99", better: Better::Less },
        Column { key: "cpu_1000", heading: "µs CPU per request", better: Better::Less },
    ],
    peers: &[
        Peer::with("trine, io_uring", HELLO, http).with_env(ONE_CARRIER_URING),
        Peer::with("trine, epoll", HELLO, http).with_env(ONE_CARRIER_EPOLL),
        Peer::with("hyper on trine, io_uring", HYPER, http).with_env(ONE_CARRIER_URING),
        Peer::with("hyper on trine, epoll", HYPER, http).with_env(ONE_CARRIER_EPOLL),
        Peer::with("hyper in coroutines, io_uring", HYPER_COROUTINE, http)
            .with_env(ONE_CARRIER_URING),
        Peer::rust("hyper on tokio, current thread", |size| own(Served::HttpTokio, size)),
        Peer::rust("may_minihttp, 1 worker", |size| own(Served::HttpMay, size)),
        Peer::rust("nginx, 1 worker", with_nginx),
        Peer::with("Go, net/http, GOMAXPROCS=1", Program::Go("serve_http"), http)
            .with_env(ONE_PROCESSOR),
    ],
    limit: Duration::from_secs(60),
};

const HELLO: Program =
    Program::Example { example: Example { name: "http_hello", feature: None }, args: &[] };

const HYPER_EXAMPLE: Example = Example { name: "hyper", feature: Some("hyper") };
const HYPER: Program = Program::Example { example: HYPER_EXAMPLE, args: &[] };
const HYPER_COROUTINE: Program = Program::Example { example: HYPER_EXAMPLE, args: &["coroutine"] };

fn own(server: Served, size: Size) -> anyhow::Result<Sample> {
    http(server.command()?, size)
}

fn http(server: Command, size: Size) -> anyhow::Result<Sample> {
    raise_limit(4_096)?;
    load(&Server::start(server)?, size)
}

fn with_nginx(size: Size) -> anyhow::Result<Sample> {
    raise_limit(8_192)?;
    let dir = tempfile::Builder::new().prefix("trine-bench-nginx-").tempdir()?;
    load(&nginx::start(dir.path())?, size)
}

fn load(server: &Server, size: Size) -> anyhow::Result<Sample> {
    if !size.quick {
        wrk::run(server.address, 64, 1)?;
    }
    let mut sample = Sample::default();
    let mut errors = vec![];
    for n in [64, 1_000] {
        let before = server.cpu()?;
        let measured = wrk::run(server.address, n, size.of(3, 1))?;
        let cpu = server.cpu()? - before;
        sample = sample
            .and(&format!("rate_{n}"), measured.per_second)
            .and(&format!("p99_{n}"), measured.p99.as_secs_f64() * 1e6)
            .and(&format!("cpu_{n}"), cpu.as_secs_f64() * 1e6 / measured.requests as f64);
        errors.extend(measured.errors.map(|errors| format!("{n} connections: {errors}")));
    }
    Ok(if errors.is_empty() { sample } else { sample.with_note(errors.join(", ")) })
}
