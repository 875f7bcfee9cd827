//! The costs of a task of each kind.
//!
//! A measurement of coroutines runs in a coroutine, like the code of a program that uses them. A
//! measurement of threads or processes runs on the main thread.
//!
//! | file | contents |
//! |---|---|
//! | `switch.rs` | two tasks that hand over to each other, in each kind's own way |
//! | `first_use.rs` | the time of the first task of a program |
//! | `memory.rs` | the memory of an idle task |

pub(super) mod first_use;
pub(super) mod memory;
mod switch;

use std::hint::black_box;

use indicatif::ProgressBar;
use serde::Serialize;
use trine::{Executor, Kind, Task, TaskError};

use super::by_kind::ByKind;
use super::sample::{Limits, Spread, calibrated, fixed, time_each};

/// One cost, for all three kinds.
#[derive(Serialize)]
pub(crate) struct Row {
    /// The stable name: `create_join`, `create_join_batch`, `switch`, `round_trip`, `map_item`,
    /// `first_use`, `idle_memory`.
    pub(crate) name: &'static str,
    /// The name for people.
    #[serde(skip)]
    pub(crate) title: &'static str,
    /// The unit of the figures.
    pub(crate) unit: Unit,
    pub(crate) kinds: ByKind<Cell>,
}

impl Row {
    /// Returns true if all three kinds could be measured.
    pub(crate) fn is_measured(&self) -> bool {
        self.kinds.each().iter().all(|(_, cell)| matches!(cell.figure, Figure::Measured(_)))
    }
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Nanoseconds,
    Bytes,
}

/// One cost of one kind.
#[derive(Serialize)]
pub(crate) struct Cell {
    /// A description of the measurement.
    pub(crate) how: &'static str,
    #[serde(flatten)]
    pub(crate) figure: Figure,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Figure {
    Measured(Spread),
    Failed { error: String },
}

/// A cost, and its measurement.
struct Cost {
    name: &'static str,
    title: &'static str,
    unit: Unit,
    how: ByKind<&'static str>,
    measure: fn(Kind, &Limits) -> anyhow::Result<Spread>,
}

const IN_BATCH: &str = "the same, all spawned before the first is joined; each of them";
const FIRST_USE: &str = "Kind.spawn and join, with everything that it starts implicitly";
const MAP_ITEM: &str = "Kind.map of u64 to u64, called by the main thread; each item";

static COSTS: [Cost; 7] = [
    Cost {
        name: "create_join",
        title: "create + join, one by one",
        unit: Unit::Nanoseconds,
        how: ByKind {
            coroutine: "coroutine::spawn and join of an empty closure, in a coroutine",
            thread: "thread::spawn and join of an empty closure: a new thread each time",
            process: "process::spawn and join of an empty function: a new process each time",
        },
        measure: create_join,
    },
    Cost {
        name: "create_join_batch",
        title: "create + join, many at once",
        unit: Unit::Nanoseconds,
        how: ByKind { coroutine: IN_BATCH, thread: IN_BATCH, process: IN_BATCH },
        measure: create_join_batch,
    },
    Cost {
        name: "switch",
        title: "switch",
        unit: Unit::Nanoseconds,
        how: ByKind {
            coroutine: "two coroutines on one carrier take turns by yield_now; one hand-over",
            thread: "two threads take turns by unpark and park; one hand-over",
            process: "two processes take turns by a byte through a socket; one hand-over",
        },
        measure: switch,
    },
    Cost {
        name: "round_trip",
        title: "message there and back",
        unit: Unit::Nanoseconds,
        how: ByKind {
            coroutine: "a new coroutine gets a u64 and is joined for its answer, in a coroutine",
            thread: "a pool of one thread gets a u64 and is joined for its answer",
            process: "a pool of one worker gets a u64 and is joined for its answer",
        },
        measure: round_trip,
    },
    Cost {
        name: "map_item",
        title: "item of a trivial map",
        unit: Unit::Nanoseconds,
        how: ByKind { coroutine: MAP_ITEM, thread: MAP_ITEM, process: MAP_ITEM },
        measure: map_item,
    },
    Cost {
        name: "first_use",
        title: "first task of a program",
        unit: Unit::Nanoseconds,
        how: ByKind { coroutine: FIRST_USE, thread: FIRST_USE, process: FIRST_USE },
        measure: first_use::first_use,
    },
    Cost {
        name: "idle_memory",
        title: "memory of an idle one",
        unit: Unit::Bytes,
        how: ByKind {
            coroutine: "growth of the resident memory by a coroutine that waits in join",
            thread: "growth of the resident memory by a thread that waits in join",
            process: "memory that a pool worker, idle after a task, shares with no process",
        },
        measure: memory::idle,
    },
];

/// The steps of progress that [`measure`] makes.
pub(crate) const STEPS: u64 = 3 * COSTS.len() as u64;

/// Measures every cost of every kind.
pub(crate) fn measure(limits: &Limits, progress: &ProgressBar) -> Vec<Row> {
    COSTS.iter().map(|cost| row(cost, limits, progress)).collect()
}

fn row(cost: &Cost, limits: &Limits, progress: &ProgressBar) -> Row {
    let kinds = ByKind::from_fn(|kind| {
        progress.set_message(format!("{}: {kind}", cost.title));
        let figure = match (cost.measure)(kind, limits) {
            Ok(spread) => Figure::Measured(spread),
            Err(error) => Figure::Failed { error: format!("{error:#}") },
        };
        progress.inc(1);
        Cell { how: cost.how.of(kind), figure }
    });
    Row { name: cost.name, title: cost.title, unit: cost.unit, kinds }
}

/// Spawns an empty task.
fn empty(kind: Kind) -> Task<()> {
    match kind {
        Kind::Coroutine => trine::coroutine::spawn(|| ()),
        Kind::Thread => trine::thread::spawn(|| ()),
        Kind::Process => trine::process::spawn((), |()| ()),
    }
}

/// Runs a measurement in a coroutine or on this thread: see the head of this file.
fn in_place<T: Send + 'static>(
    kind: Kind,
    measure: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    match kind {
        Kind::Coroutine => trine::coroutine::spawn(measure).join()?,
        Kind::Thread | Kind::Process => measure(),
    }
}

fn create_join(kind: Kind, limits: &Limits) -> anyhow::Result<Spread> {
    let limits = *limits;
    in_place(kind, move || {
        calibrated(&limits, |count| {
            time_each(count, || (0..count).try_for_each(|_| Ok(empty(kind).join()?)))
        })
    })
}

fn create_join_batch(kind: Kind, limits: &Limits) -> anyhow::Result<Spread> {
    let limits = *limits;
    in_place(kind, move || {
        let count = limits.tasks(kind);
        let mut tasks = Vec::with_capacity(count);
        let mut batch = |count| {
            time_each(count, || {
                tasks.extend((0..count).map(|_| empty(kind)));
                tasks.drain(..).try_for_each(|task| Ok(task.join()?))
            })
        };
        batch(count)?;
        fixed(&limits, count, batch)
    })
}

fn switch(kind: Kind, limits: &Limits) -> anyhow::Result<Spread> {
    let limits = *limits;
    in_place(kind, move || match kind {
        Kind::Coroutine => switch::coroutines(&limits),
        Kind::Thread => switch::threads(&limits),
        Kind::Process => switch::processes(&limits),
    })
}

fn round_trip(kind: Kind, limits: &Limits) -> anyhow::Result<Spread> {
    let limits = *limits;
    in_place(kind, move || {
        Ok(match kind {
            Kind::Coroutine => ask(&Kind::Coroutine, &limits),
            Kind::Thread => ask(&trine::thread::Pool::new(1), &limits),
            Kind::Process => ask(&trine::process::Pool::new(1), &limits),
        }?)
    })
}

/// Sends numbers, and waits for the answer to each.
fn ask(executor: &impl Executor, limits: &Limits) -> Result<Spread, TaskError> {
    calibrated(limits, |count| {
        time_each(count, || {
            (0..count as u64).try_for_each(|number| {
                let answer = executor.spawn(number, successor).join()?;
                assert_eq!(answer, number + 1, "the answer belongs to another question");
                Ok(())
            })
        })
    })
}

fn successor(number: u64) -> u64 {
    black_box(number) + 1
}

fn map_item(kind: Kind, limits: &Limits) -> anyhow::Result<Spread> {
    Ok(calibrated(limits, |count| {
        time_each(count, || {
            kind.map(0..count as u64, successor).try_for_each(|answer| answer.map(drop))
        })
    })?)
}
