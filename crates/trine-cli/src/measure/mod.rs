//! `trine measure`: the same work three ways.
//!
//! | file | what it holds |
//! |---|---|
//! | `costs.rs` | what a task of each kind costs: the rows of the first table |
//! | `switch.rs` | two tasks that hand over to each other, in each kind's own way |
//! | `first_use.rs` | what the first task of a program takes |
//! | `memory.rs` | what an idle task occupies |
//! | `workload.rs` | every file of a tree, digested by all three |
//! | `poison.rs` | the same workload with an item that panics or crashes |
//! | `tree.rs`, `digest.rs` | which files there are, and what is done with one |
//! | `part.rs` | measurements that need a program of their own, and how they get one |
//! | `sample.rs` | repetitions, medians and spreads |
//! | `cpu.rs`, `machine.rs`, `by_kind.rs` | CPU time; what the machine is; one value for each kind |

use std::io::{self, Write};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::report;

pub(crate) mod by_kind;
pub(crate) mod costs;
mod cpu;
mod digest;
mod first_use;
pub(crate) mod machine;
mod memory;
pub(crate) mod part;
pub(crate) mod poison;
pub(crate) mod sample;
mod switch;
mod tree;
pub(crate) mod workload;

use sample::Limits;

/// What `trine measure` is asked for.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Directory whose files are read and digested: regular files only, symbolic links are not
    /// followed. Default: the source tree of trine, if the current directory is one, or else the
    /// one that this program was built from
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
    /// Read directories called `target` and `.git` too
    #[arg(long)]
    all: bool,
    /// Fewer repetitions and tasks: a second or two instead of ten, with wider spreads
    #[arg(long)]
    quick: bool,
    /// Print one JSON document instead of the tables; its schema is in crates/trine-cli/README.md
    #[arg(long)]
    json: bool,
}

/// Everything that was measured: the document that `--json` prints.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The name and version of this schema. It changes when a field is renamed, removed or means
    /// something else, not when one is added.
    schema: &'static str,
    quick: bool,
    machine: machine::Machine,
    costs: Vec<costs::Row>,
    workload: workload::Workload,
    poison: Vec<poison::Scene>,
    /// Nothing failed, and the three kinds agreed.
    ok: bool,
}

/// Measures and prints; `false` if something failed or did not agree.
///
/// The tables are printed one by one as they are ready. When nobody reads them any more, the
/// error of the first write that fails ends the measuring.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let tree = tree::find(options.input.as_deref(), options.all)?;
    let limits = if options.quick { Limits::QUICK } else { Limits::FULL };
    let progress = progress_bar();
    let show = |text: String| -> io::Result<()> {
        if options.json {
            return Ok(());
        }
        progress.suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()
        })
    };
    progress.set_length(costs::STEPS + workload::steps(&limits) + poison::STEPS);

    let machine = machine::look();
    show(report::table::machine(&machine))?;
    let costs = costs::measure(&limits, &progress);
    show(report::table::costs(&costs))?;
    let workload = workload::measure(&tree, &limits, &progress);
    show(report::table::workload(&workload))?;
    let poison = poison::measure(&tree, &progress);
    show(report::table::poison(&poison))?;
    progress.finish_and_clear();

    let ok = costs.iter().all(costs::Row::is_measured)
        && workload.agree
        && poison.iter().all(poison::Scene::is_as_expected);
    if options.json {
        let schema = "trine.measure/1";
        let quick = options.quick;
        report::json::print(&Report { schema, quick, machine, costs, workload, poison, ok })?;
    }
    Ok(ok)
}

/// A bar on standard error, hidden where that is no terminal. It is drawn only between
/// measurements: a thread that redraws it would take part in them.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}");
    bar.with_style(style.expect("the template is valid"))
}
