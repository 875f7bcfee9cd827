//! `yield_crowd`: 20,000 coroutines yield, so the stacks and run queue no longer fit the caches.

use std::time::Duration;

use super::yielding::{Load, bare, may, tokio_current, trine};
use crate::row::{Better, Column, ONE_CARRIER, ONE_PROCESSOR, Peer, Row, Size};

pub const ROW: Row = Row {
    name: "yield_crowd",
    about: "20,000 coroutines on one carrier yield in turn, 100 times each.",
    columns: &[Column { key: "ns", heading: "ns per yield", better: Better::Less }],
    peers: &[
        Peer::rust("trine", |size| trine(crowd(size))).with_env(ONE_CARRIER),
        Peer::rust("corosensei, bare", |size| bare(crowd(size))),
        Peer::rust("may, 1 worker", |size| may(crowd(size))),
        Peer::rust("tokio, current thread", |size| tokio_current(crowd(size))),
        Peer::go("Go, GOMAXPROCS=1", "yield_crowd").with_env(ONE_PROCESSOR),
    ],
    limit: Duration::from_secs(60),
};

fn crowd(size: Size) -> Load {
    Load { tasks: 20_000, yields: size.of(100, 20) }
}
