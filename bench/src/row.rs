//! What a row of the table is: a question, the peers that answer it, the columns of the answer.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// One question, put to ours and to every peer.
pub struct Row {
    /// What `--only` takes.
    pub name: &'static str,
    /// What is measured, in a sentence or two that stand above the table.
    pub about: &'static str,
    /// What a sample holds. Of the first column the spread is shown, too.
    pub columns: &'static [Column],
    /// Ours first: the first of them is what the ratios refer to.
    pub peers: &'static [Peer],
    /// How long one measurement may take before it is killed.
    pub limit: Duration,
}

/// One number of a sample.
pub struct Column {
    /// Its key in the sample.
    pub key: &'static str,
    /// Its heading in the table, with the unit.
    pub heading: &'static str,
    /// Which way is better, where a ratio makes sense.
    pub better: Better,
}

impl Column {
    /// Whether ours and the peers' are compared in it.
    pub fn competes(&self) -> bool {
        self.better != Better::Neither
    }
}

/// Which way a column is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// A cost: nanoseconds, bytes.
    Less,
    /// A rate.
    More,
    /// A count that is no competition.
    Neither,
}

/// One way to do the work of a row.
pub struct Peer {
    /// Its name in the table.
    pub name: &'static str,
    /// Variables set for its process.
    pub env: &'static [(&'static str, &'static str)],
    /// What runs.
    pub way: Way,
}

impl Peer {
    /// A peer that is a function of this program.
    pub const fn rust(name: &'static str, run: fn(Size) -> anyhow::Result<Sample>) -> Peer {
        Peer { name, env: &[], way: Way::Rust(run) }
    }

    /// A peer that is a function of one of the Python scripts.
    pub const fn python(name: &'static str, script: &'static str, function: &'static str) -> Peer {
        Peer { name, env: &[], way: Way::Python { script, function, loky: false } }
    }

    /// A peer that is a function of one of the Python scripts, and needs loky.
    pub const fn loky(name: &'static str, script: &'static str, function: &'static str) -> Peer {
        Peer { name, env: &[], way: Way::Python { script, function, loky: true } }
    }

    /// A peer that is a row of the Go program.
    pub const fn go(name: &'static str, row: &'static str) -> Peer {
        Peer { name, env: &[], way: Way::Go { row } }
    }

    /// A peer that another program serves, or is: `run` measures it, in a process of this program.
    pub const fn with(
        name: &'static str,
        program: Program,
        run: fn(Command, Size) -> anyhow::Result<Sample>,
    ) -> Peer {
        Peer { name, env: &[], way: Way::With { program, run } }
    }

    /// The same peer with variables set.
    pub const fn with_env(self, env: &'static [(&'static str, &'static str)]) -> Peer {
        Peer { env, ..self }
    }
}

/// What a measurement's process runs.
pub enum Way {
    /// This program again, and in it this function.
    Rust(fn(Size) -> anyhow::Result<Sample>),
    /// The Python interpreter, and in it this function of this script, which may need loky.
    Python { script: &'static str, function: &'static str, loky: bool },
    /// The program in `../go`, and in it this row.
    Go { row: &'static str },
    /// This program again, and in it this function, which starts the other program.
    With { program: Program, run: fn(Command, Size) -> anyhow::Result<Sample> },
}

/// A program that a measurement starts for itself.
#[derive(Clone, Copy)]
pub enum Program {
    /// The program in `../go`, and in it this row.
    Go(&'static str),
    /// An example of trine's, at an address of its choice, with these arguments after it.
    Example { example: Example, args: &'static [&'static str] },
}

/// An example, and the feature of trine that it needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Example {
    pub name: &'static str,
    pub feature: Option<&'static str>,
}

/// Variables that keep each runtime on one core.
pub const ONE_CARRIER: &[(&str, &str)] = &[("TRINE_CARRIERS", "1")];
pub const ONE_CARRIER_URING: &[(&str, &str)] =
    &[("TRINE_CARRIERS", "1"), ("TRINE_REACTOR", "uring")];
pub const ONE_CARRIER_EPOLL: &[(&str, &str)] =
    &[("TRINE_CARRIERS", "1"), ("TRINE_REACTOR", "epoll")];
pub const ONE_PROCESSOR: &[(&str, &str)] = &[("GOMAXPROCS", "1")];

/// How much work a measurement does.
#[derive(Clone, Copy)]
pub struct Size {
    /// Whether the run is a quick one.
    pub quick: bool,
}

impl Size {
    /// `full`, or `quick` in a quick run.
    pub fn of<T>(self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// What one measurement found: the line of JSON that its process prints.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Sample {
    /// The numbers, by the keys of the row's columns.
    pub values: BTreeMap<String, f64>,
    /// A remark for the table.
    #[serde(default)]
    pub note: Option<String>,
}

impl Sample {
    /// A sample of one number.
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

/// `elapsed` divided among `n`, in nanoseconds.
pub fn ns_each(elapsed: Duration, n: usize) -> f64 {
    elapsed.as_nanos() as f64 / n as f64
}

/// `elapsed` divided among `n`, in microseconds.
pub fn us_each(elapsed: Duration, n: usize) -> f64 {
    ns_each(elapsed, n) / 1e3
}

/// The middle one of many numbers.
pub fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    if all.len() % 2 == 1 { all[middle] } else { (all[middle - 1] + all[middle]) / 2.0 }
}

/// How long `run` takes.
pub fn timed(run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let start = Instant::now();
    run()?;
    Ok(start.elapsed())
}

/// The median of `times` runs.
pub fn middle(times: usize, run: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let mut all: Vec<_> = (0..times).map(|_| timed(&run)).collect::<Result<_, _>>()?;
    all.sort();
    Ok((all[(times - 1) / 2] + all[times / 2]) / 2)
}
