//! `skynet`: a tree of tasks, ten to a node, which adds up its leaves.

use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::panic_message::panic_message;
use crate::row::{
    Better, Column, ONE_CARRIER, ONE_PROCESSOR, Peer, Row, Sample, Size, middle, timed,
};
use crate::rows::runtimes::{current, multi};

pub const ROW: Row = Row {
    name: "skynet",
    about: "A task starts ten tasks, each of them ten more, down to 1,000,000 leaves; each task \
            adds up the results of its ten. It runs four times in one process; of the last three \
            the median is shown. The sums travel through `join`, in Go through unbuffered \
            channels, as in the original benchmark. rayon's tasks cannot wait for anything but \
            each other.",
    columns: &[
        Column { key: "again", heading: "ms per run, later runs", better: Better::Less },
        Column { key: "first", heading: "ms, first run", better: Better::Less },
    ],
    peers: &[
        Peer::rust("trine", |size| measure(size, |n| trine(0, n))),
        Peer::rust("trine, 1 carrier", |size| measure(size, |n| trine(0, n))).with_env(ONE_CARRIER),
        Peer::rust("rayon, scope", |size| measure(size, |n| Ok(rayon(0, n)))),
        Peer::rust("tokio, current thread", |size| tokio(size, current()?)),
        Peer::rust("tokio, multi-thread", |size| tokio(size, multi()?)),
        Peer::go("Go", "skynet"),
        Peer::go("Go, GOMAXPROCS=1", "skynet").with_env(ONE_PROCESSOR),
        Peer::rust("may", |size| measure(size, |n| may(0, n))),
    ],
    limit: Duration::from_secs(60),
};

/// Children of each node.
const CHILDREN: u64 = 10;

fn measure(size: Size, tree: impl Fn(u64) -> anyhow::Result<u64>) -> anyhow::Result<Sample> {
    let leaves = size.of(1_000_000, 100_000);
    let run = || {
        anyhow::ensure!(tree(leaves)? == leaves * (leaves - 1) / 2, "a wrong sum");
        Ok(())
    };
    let first = timed(run)?;
    let again = middle(3, run)?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(Sample::of("again", ms(again)).and("first", ms(first)))
}

/// Returns, for each child of a node, its first leaf and its number of leaves.
fn below(first: u64, leaves: u64) -> impl Iterator<Item = (u64, u64)> {
    let each = leaves / CHILDREN;
    (0..CHILDREN).map(move |i| (first + i * each, each))
}

fn trine(first: u64, leaves: u64) -> anyhow::Result<u64> {
    if leaves == 1 {
        return Ok(first);
    }
    let spawn = |(first, leaves)| trine::coroutine::spawn(move || trine(first, leaves));
    let children: Vec<_> = below(first, leaves).map(spawn).collect();
    children.into_iter().map(|child| child.join()?).sum()
}

fn rayon(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let mut sums = [0; CHILDREN as usize];
    rayon::scope(|scope| {
        for ((first, leaves), sum) in below(first, leaves).zip(&mut sums) {
            scope.spawn(move |_| *sum = rayon(first, leaves));
        }
    });
    sums.iter().sum()
}

fn tokio(size: Size, runtime: Runtime) -> anyhow::Result<Sample> {
    measure(size, |leaves| runtime.block_on(runtime.spawn(tokio_node(0, leaves)))?)
}

fn tokio_node(
    first: u64,
    leaves: u64,
) -> Pin<Box<dyn Future<Output = anyhow::Result<u64>> + Send>> {
    Box::pin(async move {
        if leaves == 1 {
            return Ok(first);
        }
        let spawn = |(first, leaves)| tokio::spawn(tokio_node(first, leaves));
        let children: Vec<_> = below(first, leaves).map(spawn).collect();
        let mut sum = 0;
        for child in children {
            sum += child.await??;
        }
        Ok(sum)
    })
}

fn may(first: u64, leaves: u64) -> anyhow::Result<u64> {
    if leaves == 1 {
        return Ok(first);
    }
    let spawn = |(first, leaves)| {
        // SAFETY: the coroutine touches no thread-local storage and needs little stack.
        unsafe { may::coroutine::spawn(move || may(first, leaves)) }
    };
    let children: Vec<_> = below(first, leaves).map(spawn).collect();
    let join = |child: may::coroutine::JoinHandle<_>| {
        child.join().map_err(|panic| anyhow::anyhow!("panicked: {}", panic_message(&*panic)))?
    };
    children.into_iter().map(join).sum()
}
