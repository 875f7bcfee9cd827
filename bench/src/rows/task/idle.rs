//! `idle`: the memory of a task that only waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::procfs::kilobytes;
use crate::row::{Better, Column, Peer, Row, Sample, Size, ns_each};

pub const ROW: Row = Row {
    name: "idle",
    about: "1,000,000 tasks (10,000 threads) sleep at once. The row shows the growth of `VmRSS` \
            and of the page tables, `VmPTE`, per task, and the time until all of them sleep. A \
            coroutine has a stack with a guard; a goroutine's stack is 2 KiB of the heap, \
            without one; a future and a tokio task have no stack.",
    columns: &[
        Column { key: "bytes", heading: "bytes resident", better: Better::Less },
        Column { key: "pte", heading: "bytes of page table", better: Better::Less },
        Column { key: "ns", heading: "ns to create", better: Better::Less },
        Column { key: "count", heading: "tasks", better: Better::Neither },
    ],
    peers: &[
        Peer::rust("trine coroutine", trine),
        Peer::rust("may coroutine", may),
        Peer::rust("trine future", trine_future),
        Peer::rust("tokio task", tokio),
        Peer::go("Go goroutine", "idle"),
        Peer::rust("std thread", threads),
    ],
    limit: Duration::from_secs(120),
};

/// Longer than any measurement; the process ends while its tasks sleep.
const LONG: Duration = Duration::from_secs(3_600);

/// Tasks that are about to sleep.
static ASLEEP: AtomicUsize = AtomicUsize::new(0);

/// Creates up to `n` tasks with `create`, until it fails, and measures the memory when all of them
/// sleep.
fn measure(n: usize, mut create: impl FnMut() -> Result<(), String>) -> anyhow::Result<Sample> {
    let before = Memory::now()?;
    let start = Instant::now();
    let mut refused = None;
    let created = (0..n).take_while(|_| create().map_err(|e| refused = Some(e)).is_ok()).count();
    while ASLEEP.load(Ordering::Acquire) < created {
        std::thread::sleep(Duration::from_millis(1));
    }
    let elapsed = start.elapsed();
    // The last tasks count themselves shortly before they sleep.
    std::thread::sleep(Duration::from_millis(200));
    let after = Memory::now()?;

    anyhow::ensure!(created > 0, "no task could be created: {}", refused.unwrap_or_default());
    let sample = Sample::of("bytes", after.resident.since(before.resident, created))
        .and("pte", after.tables.since(before.tables, created))
        .and("ns", ns_each(elapsed, created))
        .and("count", created as f64);
    Ok(match refused {
        Some(why) => sample.with_note(format!("no more than {}k: {why}", created / 1_000)),
        None => sample,
    })
}

/// Returns a million, or the number of coroutines that fit half of the free memory.
fn many(size: Size) -> anyhow::Result<usize> {
    let free = kilobytes("/proc/meminfo", "MemAvailable:")?;
    Ok(size.of(1_000_000, 100_000).min(free / 2 / 5))
}

fn trine(size: Size) -> anyhow::Result<Sample> {
    trine::coroutine::spawn(|| ()).join()?;
    measure(many(size)?, || {
        drop(trine::coroutine::spawn(|| {
            ASLEEP.fetch_add(1, Ordering::Release);
            trine::time::sleep(LONG);
        }));
        Ok(())
    })
}

fn trine_future(size: Size) -> anyhow::Result<Sample> {
    trine::future::spawn(async {}).join()?;
    measure(many(size)?, || {
        drop(trine::future::spawn(async {
            ASLEEP.fetch_add(1, Ordering::Release);
            trine::future::sleep(LONG).await;
        }));
        Ok(())
    })
}

fn may(size: Size) -> anyhow::Result<Sample> {
    let spawn = || {
        // SAFETY: the coroutine touches no thread-local storage and needs little stack.
        unsafe {
            may::coroutine::spawn(|| {
                ASLEEP.fetch_add(1, Ordering::Release);
                may::coroutine::sleep(LONG);
            })
        }
    };
    // Without mappings left, the panic message may find no memory: print nothing.
    std::panic::set_hook(Box::new(|_| ()));
    measure(many(size)?, || {
        let spawned = catch_unwind(AssertUnwindSafe(spawn));
        spawned.map(drop).map_err(|_| "no stack (vm.max_map_count)".into())
    })
}

fn tokio(size: Size) -> anyhow::Result<Sample> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build()?;
    let runtime = Box::leak(Box::new(runtime));
    measure(many(size)?, || {
        drop(runtime.spawn(async {
            ASLEEP.fetch_add(1, Ordering::Release);
            tokio::time::sleep(LONG).await;
        }));
        Ok(())
    })
}

fn threads(size: Size) -> anyhow::Result<Sample> {
    measure(size.of(10_000, 2_000), || {
        let spawned = std::thread::Builder::new().spawn(|| {
            ASLEEP.fetch_add(1, Ordering::Release);
            std::thread::sleep(LONG);
        });
        spawned.map(drop).map_err(|error| error.to_string())
    })
}

/// The memory of this process.
struct Memory {
    resident: Kilobytes,
    tables: Kilobytes,
}

#[derive(Clone, Copy)]
struct Kilobytes(usize);

impl Memory {
    fn now() -> anyhow::Result<Memory> {
        let field = |name| kilobytes("/proc/self/status", name).map(Kilobytes);
        Ok(Memory { resident: field("VmRSS:")?, tables: field("VmPTE:")? })
    }
}

impl Kilobytes {
    /// Returns the growth since `before`, in bytes for each of `n` tasks.
    fn since(self, before: Kilobytes, n: usize) -> f64 {
        self.0.saturating_sub(before.0) as f64 * 1_024.0 / n as f64
    }
}
