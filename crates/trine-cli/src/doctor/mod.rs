//! The command `trine doctor`: what trine finds on this machine, and how to get what is missing.
//!
//! It tries all that can be tried, by trine's own calls. Limits are read, as the program that asks
//! for them would get them.
//!
//! | file | contents |
//! |---|---|
//! | `check.rs` | a check, and the report of all |
//! | `tasks.rs` | one task of each kind |
//! | `kernel.rs` | the kernel's release, `io_uring`, Landlock, seccomp |
//! | `groups.rs` | memory limits by control groups |
//! | `limits.rs` | descriptors, threads and processes, memory |
//! | `ipc.rs` | `/proc`, `/dev/shm`, shared memory, message queues |

pub(crate) mod check;
mod groups;
mod ipc;
mod kernel;
mod limits;
mod tasks;

use std::io::{self, Write};

use crate::measure::machine;
use crate::report;
use check::{Check, Report};

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
