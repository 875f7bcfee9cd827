//! The command `trine doctor`: what trine finds on this machine, and how to get what is missing.
//!
//! Whatever can be tried is tried, by trine's own calls. Limits are read, as the program that asks
//! for them would get them.
//!
//! | file | contents |
//! |---|---|
//! | `tasks.rs` | one task of each kind |
//! | `kernel.rs` | the kernel's release, `io_uring`, Landlock, seccomp |
//! | `groups.rs` | memory limits by control groups |
//! | `limits.rs` | descriptors, threads and processes, memory |
//! | `ipc.rs` | `/proc`, `/dev/shm`, shared memory, message queues |

mod groups;
mod ipc;
mod kernel;
mod limits;
mod tasks;

use std::io::{self, Write};

use serde::Serialize;

use crate::measure::machine::{self, Machine};
use crate::report;

pub(crate) const AFTER_HELP: &str = "\
Examples:
  trine doctor                      what works here, what is limited, and the remedies
  trine doctor --json               one JSON document instead
  ulimit -n 64; trine doctor        the same under the limits of this shell

Exit codes:
  0  tasks of all three kinds run; some of the rest may be limited or missing
  1  a kind of tasks does not run
  2  bad usage";

/// The options of `trine doctor`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Print one JSON document; its schema is in crates/trine-cli/README.md
    #[arg(long)]
    json: bool,
}

/// Everything that was found: the document that `--json` prints.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The name and version of this schema. It changes when a field is renamed, removed or gets
    /// another meaning, not when a field or a check is added.
    schema: &'static str,
    pub(crate) machine: Machine,
    pub(crate) checks: Vec<Check>,
    /// True if tasks of all three kinds run.
    pub(crate) ok: bool,
}

/// One thing that trine uses.
#[derive(Serialize)]
pub(crate) struct Check {
    /// The stable name.
    pub(crate) name: &'static str,
    pub(crate) state: State,
    /// The facts, and their consequence.
    pub(crate) found: String,
    /// The way to get more; `None` if all works, or if `found` says it.
    pub(crate) remedy: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// All of it works.
    Works,
    /// It works in part, or trine has a substitute for it.
    Limited,
    /// What needs it fails.
    Missing,
}

impl Check {
    fn is_well(&self) -> bool {
        self.state == State::Works
    }

    fn works(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, state: State::Works, found: found.into(), remedy: None }
    }

    fn limited(
        name: &'static str,
        found: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) -> Check {
        Check { name, state: State::Limited, found: found.into(), remedy: remedy.into() }
    }

    fn missing(
        name: &'static str,
        found: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) -> Check {
        Check { name, state: State::Missing, found: found.into(), remedy: remedy.into() }
    }
}

/// Checks and prints. Returns false if a kind of tasks does not run.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let mut checks = tasks::checks();
    let ok = checks.iter().all(Check::is_well);
    let processes_run =
        checks.iter().all(|check| check.name != tasks::PROCESSES || check.is_well());
    checks.extend(kernel::checks());
    checks.push(groups::check(processes_run));
    checks.extend(limits::checks());
    checks.extend(ipc::checks());
    let report = Report { schema: "trine.doctor/1", machine: machine::describe(), checks, ok };
    if options.json {
        report::json::print(&report)?;
    } else {
        let mut stdout = io::stdout().lock();
        stdout.write_all(report::checks::show(&report).as_bytes())?;
        stdout.flush()?;
    }
    Ok(ok)
}
