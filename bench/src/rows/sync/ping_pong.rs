//! `ping_pong`, `ping_pong_threads`: a message there and back.

use std::time::Duration;

use tokio::runtime::Runtime;
use trine::sync::channel;

use super::ends::{AsyncRx, AsyncTx, Rx, Tx};
use super::portions::ns_in_portions;
use super::runners::{self, AsyncJob, Job};
use crate::row::{Better, Column, ONE_CARRIER, ONE_PROCESSOR, Peer, Row, Sample, Size};
use crate::rows::runtimes::current;

const COLUMNS: &[Column] = &[
    Column { key: "one", heading: "ns per round trip, capacity 1", better: Better::Less },
    Column { key: "zero", heading: "ns, rendezvous", better: Better::Less },
];

pub const ROW: Row = Row {
    name: "ping_pong",
    about: "Two tasks on one core send a `u64` there and back, 1,000,000 times, over a pair of \
            channels that hold one message, and over a pair of rendezvous channels. They do so in \
            ten portions, each with tasks of its own. tokio and async-channel have no rendezvous \
            channel; may's channels are unbounded. flume, kanal and async-channel run on tokio's \
            current-thread runtime.",
    columns: COLUMNS,
    peers: &[
        Peer::rust("trine, 1 carrier", trine).with_env(ONE_CARRIER),
        Peer::rust("tokio, mpsc", |size| tasks(size, ONE, tokio::sync::mpsc::channel)),
        Peer::rust("flume, async", |size| tasks(size, BOTH, flume::bounded)),
        Peer::rust("kanal, async", |size| tasks(size, BOTH, kanal::bounded_async)),
        Peer::rust("async-channel", |size| tasks(size, ONE, async_channel::bounded)),
        Peer::go("Go, GOMAXPROCS=1", "ping_pong").with_env(ONE_PROCESSOR),
        Peer::rust("may, 1 worker", may),
    ],
    limit: Duration::from_secs(60),
};

pub const THREADS: Row = Row {
    name: "ping_pong_threads",
    about: "The same between two threads, 100,000 times; the kernel chooses their cores. \
            crossbeam, kanal and std spin before they sleep, and are at their best where spinning \
            is enough.",
    columns: COLUMNS,
    peers: &[
        Peer::rust("trine", |size| threads(size, channel::bounded)),
        Peer::rust("crossbeam-channel", |size| threads(size, crossbeam_channel::bounded)),
        Peer::rust("flume", |size| threads(size, flume::bounded)),
        Peer::rust("kanal", |size| threads(size, kanal::bounded)),
        Peer::rust("std, sync_channel", |size| threads(size, std::sync::mpsc::sync_channel)),
    ],
    limit: Duration::from_secs(60),
};

/// Columns, and the capacity of the channels of each.
type Capacities = &'static [(&'static str, usize)];

const BOTH: Capacities = &[("one", 1), ("zero", 0)];
const ONE: Capacities = &[("one", 1)];

/// Measures `play`. It is passed a number of messages and a capacity, sends the messages over
/// channels of that capacity, and returns the sum of the answers.
fn measure(
    n: usize,
    capacities: Capacities,
    play: impl Fn(u64, usize) -> anyhow::Result<u64>,
) -> anyhow::Result<Sample> {
    let checked = |n: u64, capacity| {
        anyhow::ensure!(play(n, capacity)? == n * (n + 1) / 2, "a wrong sum");
        Ok(())
    };
    let mut sample = Sample::default();
    for &(key, capacity) in capacities {
        sample = sample.and(key, ns_in_portions(n, |n| checked(n as u64, capacity))?);
    }
    Ok(sample)
}

fn many(size: Size) -> usize {
    size.of(1_000_000, 200_000)
}

fn tasks<T: AsyncTx, R: AsyncRx>(
    size: Size,
    capacities: Capacities,
    make: impl Fn(usize) -> (T, R),
) -> anyhow::Result<Sample> {
    let runtime: Runtime = current()?;
    measure(many(size), capacities, |n, capacity| {
        runners::tokio(&runtime, async_players(n, make(capacity), make(capacity)).into())
    })
}

fn threads<T: Tx, R: Rx>(size: Size, make: impl Fn(usize) -> (T, R)) -> anyhow::Result<Sample> {
    measure(size.of(100_000, 20_000), BOTH, |n, capacity| {
        runners::threads(players(n, make(capacity), make(capacity)).into())
    })
}

fn trine(size: Size) -> anyhow::Result<Sample> {
    let make = channel::bounded;
    measure(many(size), BOTH, |n, capacity| {
        runners::trine(players(n, make(capacity), make(capacity)).into())
    })
}

fn may(size: Size) -> anyhow::Result<Sample> {
    may::config().set_workers(1);
    let make = may::sync::mpmc::channel;
    measure(many(size), ONE, |n, _| runners::may(players(n, make(), make()).into()))
        .map(|sample| sample.with_note("unbounded"))
}

/// Makes two jobs: one sends numbers and receives the answers, the other answers each with the next
/// number.
fn players<T: Tx, R: Rx>(n: u64, there: (T, R), back: (T, R)) -> [Job; 2] {
    let ((there, arrives), (answer, back)) = (there, back);
    let first = move || {
        (0..n)
            .map(|i| {
                there.send(i);
                back.recv().expect("an answer")
            })
            .sum()
    };
    let second = move || {
        while let Some(message) = arrives.recv() {
            answer.send(message + 1);
        }
        0
    };
    [Box::new(first), Box::new(second)]
}

fn async_players<T: AsyncTx, R: AsyncRx>(n: u64, there: (T, R), back: (T, R)) -> [AsyncJob; 2] {
    let ((there, mut arrives), (answer, mut back)) = (there, back);
    let first = async move {
        let mut sum = 0;
        for i in 0..n {
            there.send(i).await;
            sum += back.recv().await.expect("an answer");
        }
        sum
    };
    let second = async move {
        while let Some(message) = arrives.recv().await {
            answer.send(message + 1).await;
        }
        0
    };
    [Box::pin(first), Box::pin(second)]
}
