//! A row of the table: the work, the peers that do it, the columns of their results.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Work that trine and every peer do.
pub struct Row {
    /// The name that `--only` takes.
    pub name: &'static str,
    /// A description of the work, printed above the table.
    pub about: &'static str,
    /// The numbers of a sample. The table shows the spread of the first one, too.
    pub columns: &'static [Column],
    /// trine and its peers. The ratios compare each with the first.
    pub peers: &'static [Peer],
    /// The time after which a measurement is killed.
    pub limit: Duration,
}

/// One number of a sample.
pub struct Column {
    /// The key in the sample.
    pub key: &'static str,
    /// The heading in the table, with the unit.
    pub heading: &'static str,
    /// The better direction, where a ratio makes sense.
    pub better: Better,
}

impl Column {
    /// Returns true if the table shows ratios of this column.
    pub fn competes(&self) -> bool {
        self.better != Better::Neither
    }
}

/// The better direction of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// A cost: nanoseconds, bytes.
    Less,
    /// A rate.
    More,
    /// Neither: a count that is not compared.
    Neither,
}

/// One way to do the work of a row.
pub struct Peer {
    /// The name in the table.
    pub name: &'static str,
    /// Environment variables of the process that measures it.
    pub env: &'static [(&'static str, &'static str)],
    /// The program and function that do the work.
    pub way: Way,
}

impl Peer {
    /// Makes a peer of a function of this program.
    pub const fn rust(name: &'static str, run: fn(Size) -> anyhow::Result<Sample>) -> Peer {
        Peer { name, env: &[], way: Way::Rust(run) }
    }

    /// Makes a peer of a function of one of the Python scripts.
    pub const fn python(name: &'static str, script: &'static str, function: &'static str) -> Peer {
        Peer { name, env: &[], way: Way::Python { script, function, loky: false } }
    }

    /// Makes a peer of a function of one of the Python scripts that needs loky.
    pub const fn loky(name: &'static str, script: &'static str, function: &'static str) -> Peer {
        Peer { name, env: &[], way: Way::Python { script, function, loky: true } }
    }

    /// Makes a peer of a row of the Go program.
    pub const fn go(name: &'static str, row: &'static str) -> Peer {
        Peer { name, env: &[], way: Way::Go { row } }
    }

    /// Makes a peer of another program, which `run` starts and measures in a process of this one.
    pub const fn with(
        name: &'static str,
        program: Program,
        run: fn(Command, Size) -> anyhow::Result<Sample>,
    ) -> Peer {
        Peer { name, env: &[], way: Way::With { program, run } }
    }

    /// Sets environment variables for the peer.
    pub const fn with_env(self, env: &'static [(&'static str, &'static str)]) -> Peer {
        Peer { env, ..self }
    }
}

/// The work of a measurement's process.
pub enum Way {
    /// A function of this program.
    Rust(fn(Size) -> anyhow::Result<Sample>),
    /// A function of a Python script, which may need loky.
    Python { script: &'static str, function: &'static str, loky: bool },
    /// A row of the program in `../go`.
    Go { row: &'static str },
    /// A function of this program that starts another program.
    With { program: Program, run: fn(Command, Size) -> anyhow::Result<Sample> },
}

/// A program that a measurement starts for itself.
#[derive(Clone, Copy)]
pub enum Program {
    /// A row of the program in `../go`.
    Go(&'static str),
    /// A server among trine's examples. It chooses its address; `args` come after the address.
    Example { example: Example, args: &'static [&'static str] },
}

/// An example of trine, and the feature that it needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Example {
    pub name: &'static str,
    pub feature: Option<&'static str>,
}

/// Environment variables that keep each runtime on one core.
pub const ONE_CARRIER: &[(&str, &str)] = &[("TRINE_CARRIERS", "1")];
pub const ONE_CARRIER_URING: &[(&str, &str)] =
    &[("TRINE_CARRIERS", "1"), ("TRINE_REACTOR", "uring")];
pub const ONE_CARRIER_EPOLL: &[(&str, &str)] =
    &[("TRINE_CARRIERS", "1"), ("TRINE_REACTOR", "epoll")];
pub const ONE_PROCESSOR: &[(&str, &str)] = &[("GOMAXPROCS", "1")];

/// The amount of work of a measurement.
#[derive(Clone, Copy)]
pub struct Size {
    /// True with `--quick`.
    pub quick: bool,
}

impl Size {
    /// Returns `quick` in a quick run, otherwise `full`.
    pub fn of<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// The result of one measurement: the line of JSON that its process prints.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Sample {
    /// The numbers, by the keys of the row's columns.
    pub values: BTreeMap<String, f64>,
    /// A remark, shown in the table.
    #[serde(default)]
    pub note: Option<String>,
}

impl Sample {
    /// Makes a sample of one number.
    pub fn of(key: &str, value: f64) -> Sample {
        Sample::default().and(key, value)
    }

    /// Adds a number.
    pub fn and(mut self, key: &str, value: f64) -> Sample {
        self.values.insert(key.into(), value);
        self
    }

    /// Adds a remark.
    pub fn with_note(mut self, note: impl Into<String>) -> Sample {
        self.note = Some(note.into());
        self
    }
}

/// Returns the nanoseconds of each of `n` operations.
pub fn ns_each(elapsed: Duration, n: usize) -> f64 {
    elapsed.as_nanos() as f64 / n as f64
}

/// Returns the microseconds of each of `n` operations.
pub fn us_each(elapsed: Duration, n: usize) -> f64 {
    ns_each(elapsed, n) / 1e3
}

/// Returns the median of numbers, of which there is at least one.
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    if all.len() % 2 == 1 { all[middle] } else { (all[middle - 1] + all[middle]) / 2.0 }
}

/// Measures the time that `run` takes.
pub fn timed(run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}

/// Returns the median time of `times` runs.
pub fn middle(times: usize, run: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let mut all: Vec<_> = (0..times).map(|_| timed(&run)).collect::<Result<_, _>>()?;
    all.sort();
    Ok((all[(times - 1) / 2] + all[times / 2]) / 2)
}
