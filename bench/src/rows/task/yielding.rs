//! `yield`: two coroutines on one carrier yield to each other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, CoroutineResult};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::row::{Better, Column, ONE_CARRIER, ONE_PROCESSOR, Peer, Row, Sample, Size, ns_each};

pub const ROW: Row = Row {
    name: "yield",
    about: "Two coroutines on one carrier yield to each other, 2 × 2,000,000 times. The threads \
            (2 × 200,000) hand over by park and unpark on one core. Bare corosensei suspends \
            inline in the loop, with no call in between.",
    columns: &[Column { key: "ns", heading: "ns per yield", better: Better::Less }],
    peers: &[
        Peer::rust("trine", |size| trine(pair(size))).with_env(ONE_CARRIER),
        Peer::rust("corosensei, bare", |size| bare(pair(size))),
        Peer::rust("may, 1 worker", |size| may(pair(size))),
        Peer::rust("tokio, current thread", |size| tokio_current(pair(size))),
        Peer::rust("tokio, multi-thread", |size| tokio_multi(pair(size))),
        Peer::go("Go, GOMAXPROCS=1", "yield").with_env(ONE_PROCESSOR),
        Peer::rust("std threads, 1 core", threads),
    ],
    limit: Duration::from_secs(60),
};

/// A number of coroutines, and the number of yields of each.
pub struct Load {
    pub tasks: usize,
    pub yields: usize,
}

fn pair(size: Size) -> Load {
    Load { tasks: 2, yields: size.of(2_000_000, 500_000) }
}

/// The time from the first counted yield of any coroutine to the last one.
///
/// Each coroutine yields some more before and after. So no coroutine starts (page faults of a fresh
/// stack) or ends (unmapping of its stack) while another one counts.
struct Span {
    base: Instant,
    first: AtomicU64,
    last: AtomicU64,
}

impl Span {
    /// Yields of each coroutine before it counts, and after it.
    const AROUND: usize = 10;

    fn leak() -> &'static Span {
        let (first, last) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        Box::leak(Box::new(Span { base: Instant::now(), first, last }))
    }

    fn begin(&self) {
        self.first.fetch_min(self.base.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    fn end(&self) {
        self.last.fetch_max(self.base.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// Does the work of a coroutine, where a yield is a call.
    fn run(&self, yields: usize, hand_over: impl Fn()) {
        for _ in 0..Span::AROUND {
            hand_over();
        }
        self.begin();
        for _ in 0..yields {
            hand_over();
        }
        self.end();
        for _ in 0..Span::AROUND {
            hand_over();
        }
    }

    fn sample(&self, load: &Load) -> anyhow::Result<Sample> {
        let elapsed = self.last.load(Ordering::Relaxed) - self.first.load(Ordering::Relaxed);
        Ok(Sample::of("ns", ns_each(Duration::from_nanos(elapsed), load.tasks * load.yields)))
    }
}

pub fn trine(load: Load) -> anyhow::Result<Sample> {
    let (span, yields) = (Span::leak(), load.yields);
    let tasks: Vec<_> = (0..load.tasks)
        .map(|_| trine::coroutine::spawn(move || span.run(yields, trine::coroutine::yield_now)))
        .collect();
    for task in tasks {
        task.join()?;
    }
    span.sample(&load)
}

/// The smallest scheduler: resumes all coroutines in turn, and drops those that have ended.
pub fn bare(load: Load) -> anyhow::Result<Sample> {
    let (span, yields) = (Span::leak(), load.yields);
    let mut coroutines: Vec<_> = (0..load.tasks)
        .map(|_| {
            Coroutine::<(), (), ()>::new(move |yielder, ()| {
                span.run(yields, || yielder.suspend(()));
            })
        })
        .collect();
    while !coroutines.is_empty() {
        coroutines.retain_mut(|coroutine| match coroutine.resume(()) {
            CoroutineResult::Yield(()) => true,
            CoroutineResult::Return(()) => false,
        });
    }
    span.sample(&load)
}

pub fn may(load: Load) -> anyhow::Result<Sample> {
    may::config().set_workers(1);
    let (span, yields) = (Span::leak(), load.yields);
    let spawn = |_| {
        // SAFETY: the coroutine touches no thread-local storage and needs little stack.
        unsafe { may::coroutine::spawn(move || span.run(yields, may::coroutine::yield_now)) }
    };
    let tasks: Vec<_> = (0..load.tasks).map(spawn).collect();
    for task in tasks {
        task.join().map_err(|_| anyhow::anyhow!("a coroutine panicked"))?;
    }
    span.sample(&load)
}

pub fn tokio_current(load: Load) -> anyhow::Result<Sample> {
    tokio(tokio::runtime::Builder::new_current_thread().build()?, load)
}

fn tokio_multi(load: Load) -> anyhow::Result<Sample> {
    tokio(tokio::runtime::Builder::new_multi_thread().build()?, load)
}

fn tokio(runtime: tokio::runtime::Runtime, load: Load) -> anyhow::Result<Sample> {
    let (span, yields) = (Span::leak(), load.yields);
    runtime.block_on(async {
        let tasks: Vec<_> = (0..load.tasks)
            .map(|_| {
                tokio::spawn(async move {
                    for _ in 0..Span::AROUND {
                        tokio::task::yield_now().await;
                    }
                    span.begin();
                    for _ in 0..yields {
                        tokio::task::yield_now().await;
                    }
                    span.end();
                    for _ in 0..Span::AROUND {
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        span.sample(&load)
    })
}

/// Two threads on one core: each wakes the other, then sleeps until it is woken.
fn threads(size: Size) -> anyhow::Result<Sample> {
    static TURN: AtomicBool = AtomicBool::new(false);
    static THREADS: [OnceLock<Thread>; 2] = [OnceLock::new(), OnceLock::new()];

    pin_to_one_core()?;
    let load = Load { tasks: 2, yields: size.of(200_000, 50_000) };
    let (span, yields) = (Span::leak(), load.yields);
    let play = move |me: bool| {
        let other = THREADS[usize::from(!me)].wait();
        span.run(yields, || {
            while TURN.load(Ordering::Acquire) != me {
                std::thread::park();
            }
            TURN.store(!me, Ordering::Release);
            other.unpark();
        });
    };
    let tasks = [false, true].map(|me| {
        let task = std::thread::spawn(move || play(me));
        let _ = THREADS[usize::from(me)].set(task.thread().clone());
        task
    });
    for task in tasks {
        task.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    }
    span.sample(&load)
}

/// Pins this thread, and those that it starts, to the first core that it may use.
fn pin_to_one_core() -> anyhow::Result<()> {
    let allowed = sched_getaffinity(None)?;
    let first = (0..CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu));
    let mut one = CpuSet::new();
    one.set(first.unwrap_or(0));
    Ok(sched_setaffinity(None, &one)?)
}
