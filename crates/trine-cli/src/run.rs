//! The command `trine measure`: measures, and prints each table as soon as it is ready.

use std::io::{self, Write};
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::measure::sample::Limits;
use crate::measure::workload::tree;
use crate::measure::{costs, machine, poison, workload};
use crate::report;

/// The options of `trine measure`.
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
    /// The name and version of this schema. It changes when a field is renamed, removed or gets
    /// another meaning, not when a field is added.
    schema: &'static str,
    quick: bool,
    machine: machine::Machine,
    costs: Vec<costs::Row>,
    workload: workload::Workload,
    poison: Vec<poison::Scene>,
    /// True if nothing failed and the three kinds agreed.
    ok: bool,
}

/// Measures and prints. Returns false if something failed or did not agree.
///
/// Each table is printed as soon as it is ready. The first write that fails, because its reader has
/// closed the output, ends the measurements.
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

    let machine = machine::describe();
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

/// Makes a progress bar on standard error, hidden unless that is a terminal. It is drawn only
/// between measurements, because a thread that redraws it would disturb them.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}");
    bar.with_style(style.expect("the template is valid"))
}
