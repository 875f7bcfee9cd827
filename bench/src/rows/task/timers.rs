//! `timers`: the cost of a timer alone, without a task that waits for it.

use std::task::{Context, Waker};
use std::time::Duration;

use crate::row::{
    Better, Column, ONE_CARRIER, ONE_PROCESSOR, Peer, Row, Sample, Size, ns_each, timed,
};
use crate::rows::runtimes::current;

pub const ROW: Row = Row {
    name: "timers",
    about: "1,000,000 timers are created, one after the other, then cancelled, so that all are \
            pending at once. They would fire after a minute to an hour, in random order. A sleep \
            is a boxed future, polled once with a waker that does nothing, then dropped. Go's \
            is a `time.Timer`, which is stopped; Go's later work to remove it is not counted.",
    columns: &[
        Column { key: "insert", heading: "ns to make", better: Better::Less },
        Column { key: "cancel", heading: "ns to cancel", better: Better::Less },
    ],
    peers: &[
        Peer::rust("trine, on a carrier", trine_carrier).with_env(ONE_CARRIER),
        Peer::rust("trine, on a thread", trine_thread).with_env(ONE_CARRIER),
        Peer::rust("tokio, current thread", tokio),
        Peer::go("Go, GOMAXPROCS=1", "timers").with_env(ONE_PROCESSOR),
    ],
    limit: Duration::from_secs(60),
};

/// Returns a time from a minute to an hour, in pseudo-random order.
fn deadline(i: u64) -> Duration {
    Duration::from_secs(60)
        + Duration::from_millis(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 3_540_000)
}

fn measure<F: Future>(size: Size, sleep: impl Fn(Duration) -> F) -> anyhow::Result<Sample> {
    let n = size.of(1_000_000, 100_000);
    round(n / 10, &sleep)?;
    let (insert, cancel) = round(n, &sleep)?;
    Ok(Sample::of("insert", ns_each(insert, n)).and("cancel", ns_each(cancel, n)))
}

/// Measures the creation of `n` timers, and their cancellation.
fn round<F: Future>(
    n: usize,
    sleep: impl Fn(Duration) -> F,
) -> anyhow::Result<(Duration, Duration)> {
    let mut context = Context::from_waker(Waker::noop());
    let mut pending = Vec::with_capacity(n);
    let insert = timed(|| {
        for i in 0..n {
            let mut timer = Box::pin(sleep(deadline(i as u64)));
            anyhow::ensure!(timer.as_mut().poll(&mut context).is_pending(), "it fired at once");
            pending.push(timer);
        }
        Ok(())
    })?;
    let cancel = timed(|| {
        pending.clear();
        Ok(())
    })?;
    Ok((insert, cancel))
}

fn trine_carrier(size: Size) -> anyhow::Result<Sample> {
    trine::coroutine::spawn(move || measure(size, trine::future::sleep)).join()?
}

/// Measures on a plain thread, which leaves its timers to a carrier.
fn trine_thread(size: Size) -> anyhow::Result<Sample> {
    measure(size, trine::future::sleep)
}

fn tokio(size: Size) -> anyhow::Result<Sample> {
    let runtime = current()?;
    // Not in a task: tokio makes a task yield after 128 polls in one turn, whatever it polls.
    let _entered = runtime.enter();
    measure(size, tokio::time::sleep)
}
