//! `registry`: the cost that the always-on registry of live tasks adds to a task.

use std::time::{Duration, Instant};

use crate::row::{Better, Column, Peer, Row, Sample, Size, ns_each};

pub const ROW: Row = Row {
    name: "registry",
    about: "A task enters the registry of live tasks and leaves it, 10,000,000 times on one \
            thread. This cost is part of every spawn + join above.",
    columns: &[Column { key: "ns", heading: "ns per task", better: Better::Less }],
    peers: &[
        Peer::rust("trine", |size| measure(size, None)),
        Peer::rust("trine, named", |size| measure(size, Some("a name of its own"))),
    ],
    limit: Duration::from_secs(60),
};

fn measure(size: Size, name: Option<&str>) -> anyhow::Result<Sample> {
    let n = size.of(10_000_000, 1_000_000);
    let name = name.map(std::sync::Arc::from);
    let start = Instant::now();
    for _ in 0..n {
        trine::task::enter_and_leave_registry(name.clone());
    }
    Ok(Sample::of("ns", ns_each(start.elapsed(), n)))
}
