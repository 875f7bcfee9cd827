//! `channel`, `channel_1_core`, `channel_threads`: the throughput of a bounded channel.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use tokio::runtime::Runtime;
use trine::sync::channel;

use super::ends::{AsyncRx, AsyncTx, Rx, Tx};
use super::portions::ns_in_portions;
use super::runners::{self, AsyncJob, Job};
use crate::row::{Better, Column, ONE_CARRIER, ONE_PROCESSOR, Peer, Row, Sample, Size};
use crate::rows::runtimes::{current, multi};

/// Messages that a channel holds.
const CAPACITY: usize = 128;

const COLUMNS: &[Column] = &[
    Column { key: "one", heading: "M messages/s, 1 → 1", better: Better::More },
    Column { key: "four", heading: "M messages/s, 4 → 4", better: Better::More },
];

pub const ROW: Row = Row {
    name: "channel",
    about: "4,000,000 messages, each a `u64`, go through a channel that holds 128, from one task \
            to one and from four to four, on all cores. They go in ten portions, each with tasks \
            and a channel of its own, because the placement of the tasks on the cores decides \
            much. tokio's channel has one receiver only. may's is unbounded, and never makes a \
            sender wait. flume, kanal and async-channel run on tokio's multi-thread runtime.",
    columns: COLUMNS,
    peers: &[
        Peer::rust("trine", trine),
        Peer::rust("trine, ends on two carriers", trine_apart),
        Peer::rust("tokio, mpsc", |size| tokio_mpsc(size, multi()?)),
        Peer::rust("flume, async", |size| tasks(size, multi()?, flume::bounded)),
        Peer::rust("kanal, async", |size| tasks(size, multi()?, kanal::bounded_async)),
        Peer::rust("async-channel", |size| tasks(size, multi()?, async_channel::bounded)),
        Peer::go("Go", "channel"),
        Peer::rust("may", may),
    ],
    limit: LIMIT,
};

pub const ONE_CORE: Row = Row {
    name: "channel_1_core",
    about: "The same on one core: one carrier, tokio's current-thread runtime, `GOMAXPROCS=1`.",
    columns: COLUMNS,
    peers: &[
        Peer::rust("trine, 1 carrier", trine).with_env(ONE_CARRIER),
        Peer::rust("tokio, mpsc", |size| tokio_mpsc(size, current()?)),
        Peer::rust("flume, async", |size| tasks(size, current()?, flume::bounded)),
        Peer::rust("kanal, async", |size| tasks(size, current()?, kanal::bounded_async)),
        Peer::rust("async-channel", |size| tasks(size, current()?, async_channel::bounded)),
        Peer::go("Go, GOMAXPROCS=1", "channel").with_env(ONE_PROCESSOR),
        Peer::rust("may, 1 worker", |size| {
            may::config().set_workers(1);
            may(size)
        }),
    ],
    limit: LIMIT,
};

pub const THREADS: Row = Row {
    name: "channel_threads",
    about: "The same between threads. std's channel has one receiver only. crossbeam, kanal and \
            std spin before they sleep.",
    columns: COLUMNS,
    peers: &[
        Peer::rust("trine", |size| threads(size, channel::bounded)),
        Peer::rust("crossbeam-channel", |size| threads(size, crossbeam_channel::bounded)),
        Peer::rust("flume", |size| threads(size, flume::bounded)),
        Peer::rust("kanal", |size| threads(size, kanal::bounded)),
        Peer::rust("std, sync_channel", std_threads),
    ],
    limit: LIMIT,
};

const LIMIT: Duration = Duration::from_secs(60);

/// A column, and its number of senders, which is also that of receivers.
type Pairs = (&'static str, usize);

const ONE: Pairs = ("one", 1);
const FOUR: Pairs = ("four", 4);

/// Measures `transfer`. It is passed a number of pairs and a number of messages; each sender sends
/// that many messages, counted from zero, and `transfer` returns the sum of the received ones.
fn measure(
    size: Size,
    shapes: &[Pairs],
    transfer: impl Fn(usize, u64) -> anyhow::Result<u64>,
) -> anyhow::Result<Sample> {
    let n = size.of(4_000_000, 400_000);
    let checked = |pairs: usize, n: usize| {
        let each = (n / pairs) as u64;
        let sum = transfer(pairs, each)?;
        anyhow::ensure!(sum == pairs as u64 * each * (each - 1) / 2, "a wrong sum");
        Ok(())
    };
    let mut sample = Sample::default();
    for &(key, pairs) in shapes {
        sample = sample.and(key, 1e3 / ns_in_portions(n, |n| checked(pairs, n))?);
    }
    Ok(sample)
}

fn trine(size: Size) -> anyhow::Result<Sample> {
    measure(size, &[ONE, FOUR], |pairs, each| {
        let (tx, rx) = channel::bounded(CAPACITY);
        runners::trine(jobs(each, vec![tx; pairs], vec![rx; pairs]))
    })
}

/// Each end blocks its carrier until the other has started, so they start on two carriers.
fn trine_apart(size: Size) -> anyhow::Result<Sample> {
    anyhow::ensure!(std::thread::available_parallelism()?.get() > 1, "there is one core");
    measure(size, &[ONE], |_, each| {
        let (tx, rx) = channel::bounded(CAPACITY);
        let both = Arc::new(Barrier::new(2));
        let meet = |job: Job| -> Job {
            let both = Arc::clone(&both);
            Box::new(move || {
                both.wait();
                job()
            })
        };
        runners::trine(jobs(each, vec![tx], vec![rx]).into_iter().map(meet).collect())
    })
}

/// Measures tasks on `runtime`, with a channel whose ends can be cloned.
fn tasks<T: AsyncTx, R: AsyncRx + Clone>(
    size: Size,
    runtime: Runtime,
    make: impl Fn(usize) -> (T, R),
) -> anyhow::Result<Sample> {
    measure(size, &[ONE, FOUR], |pairs, each| {
        let (tx, rx) = make(CAPACITY);
        runners::tokio(&runtime, async_jobs(each, vec![tx; pairs], vec![rx; pairs]))
    })
}

fn tokio_mpsc(size: Size, runtime: Runtime) -> anyhow::Result<Sample> {
    measure(size, &[ONE], |_, each| {
        let (tx, rx) = tokio::sync::mpsc::channel(CAPACITY);
        runners::tokio(&runtime, async_jobs(each, vec![tx], vec![rx]))
    })
}

/// Measures threads, with a channel whose ends can be cloned.
fn threads<T: Tx, R: Rx + Clone>(
    size: Size,
    make: impl Fn(usize) -> (T, R),
) -> anyhow::Result<Sample> {
    measure(size, &[ONE, FOUR], |pairs, each| {
        let (tx, rx) = make(CAPACITY);
        runners::threads(jobs(each, vec![tx; pairs], vec![rx; pairs]))
    })
}

fn std_threads(size: Size) -> anyhow::Result<Sample> {
    measure(size, &[ONE], |_, each| {
        let (tx, rx) = std::sync::mpsc::sync_channel(CAPACITY);
        runners::threads(jobs(each, vec![tx], vec![rx]))
    })
}

fn may(size: Size) -> anyhow::Result<Sample> {
    let sample = measure(size, &[ONE, FOUR], |pairs, each| {
        let (tx, rx) = may::sync::mpmc::channel();
        runners::may(jobs(each, vec![tx; pairs], vec![rx; pairs]))
    });
    sample.map(|sample| sample.with_note("unbounded"))
}

fn jobs<T: Tx, R: Rx>(each: u64, senders: Vec<T>, receivers: Vec<R>) -> Vec<Job> {
    let send = |tx: T| -> Job {
        Box::new(move || {
            (0..each).for_each(|message| tx.send(message));
            0
        })
    };
    let receive = |rx: R| -> Job { Box::new(move || std::iter::from_fn(|| rx.recv()).sum()) };
    senders.into_iter().map(send).chain(receivers.into_iter().map(receive)).collect()
}

fn async_jobs<T: AsyncTx, R: AsyncRx>(
    each: u64,
    senders: Vec<T>,
    receivers: Vec<R>,
) -> Vec<AsyncJob> {
    let send = |tx: T| -> AsyncJob {
        Box::pin(async move {
            for message in 0..each {
                tx.send(message).await;
            }
            0
        })
    };
    let receive = |mut rx: R| -> AsyncJob {
        Box::pin(async move {
            let mut sum = 0;
            while let Some(message) = rx.recv().await {
                sum += message;
            }
            sum
        })
    };
    senders.into_iter().map(send).chain(receivers.into_iter().map(receive)).collect()
}
