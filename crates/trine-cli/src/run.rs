//! The command `trine measure`: measures, and prints each table as soon as it is ready.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::measure::sample::Limits;
use crate::measure::workload::tree::{self, Tree};
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
    /// Measure only these parts; several are separated by commas
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    only: Vec<Part>,
    /// Print one JSON document instead of the tables; its schema is in crates/trine-cli/README.md
    #[arg(long)]
    json: bool,
}

/// A part of the measurements: one table.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Costs of a task of each kind
    Costs,
    /// Real work: every file of a directory, digested
    Workload,
    /// An item that panics, and one that crashes
    Poison,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Finds the files, if a wanted part reads them.
    fn tree(&self) -> anyhow::Result<Option<Tree>> {
        if !self.wants(Part::Workload) && !self.wants(Part::Poison) {
            return Ok(None);
        }
        tree::find(self.input.as_deref(), self.all).map(Some)
    }
}

/// Everything that was measured: the document that `--json` prints.
#[derive(Serialize)]
pub(crate) struct Report {
    /// The name and version of this schema. It changes when a field is renamed, removed or gets
    /// another meaning, not when a field is added.
    schema: &'static str,
    quick: bool,
    machine: machine::Machine,
    /// A part that was not wanted is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    costs: Option<Vec<costs::Row>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<workload::Workload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    poison: Option<Vec<poison::Scene>>,
    /// True if nothing failed and the three kinds agreed.
    ok: bool,
}

impl Report {
    /// Makes a report of nothing measured yet.
    fn new(options: &Options, machine: machine::Machine) -> Report {
        Report {
            schema: "trine.measure/1",
            quick: options.quick,
            machine,
            costs: None,
            workload: None,
            poison: None,
            ok: true,
        }
    }
}

/// Measures and prints. Returns false if something failed or did not agree.
///
/// Each table is printed as soon as it is ready. The first write that fails, because its reader has
/// closed the output, ends the measurements.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let tree = options.tree()?;
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
    let steps = [
        (Part::Costs, costs::STEPS),
        (Part::Workload, workload::steps(&limits)),
        (Part::Poison, poison::STEPS),
    ];
    let wanted = steps.iter().filter(|(part, _)| options.wants(*part));
    progress.set_length(wanted.map(|(_, steps)| steps).sum());

    let machine = machine::describe();
    show(report::table::machine(&machine))?;
    let mut report = Report::new(options, machine);
    if options.wants(Part::Costs) {
        let costs = costs::measure(&limits, &progress);
        show(report::table::costs(&costs))?;
        report.ok &= costs.iter().all(costs::Row::is_measured);
        report.costs = Some(costs);
    }
    if let Some(tree) = tree.as_ref().filter(|_| options.wants(Part::Workload)) {
        let workload = workload::measure(tree, &limits, &progress);
        show(report::table::workload(&workload))?;
        report.ok &= workload.agree;
        report.workload = Some(workload);
    }
    if let Some(tree) = tree.as_ref().filter(|_| options.wants(Part::Poison)) {
        let poison = poison::measure(tree, &progress);
        show(report::table::poison(&poison))?;
        report.ok &= poison.iter().all(poison::Scene::is_as_expected);
        report.poison = Some(poison);
    }
    progress.finish_and_clear();
    if options.json {
        report::json::print(&report)?;
    }
    Ok(report.ok)
}

/// Makes a progress bar on standard error, hidden unless that is a terminal. It is drawn only
/// between measurements, because a thread that redraws it would disturb them.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {wide_msg}");
    bar.with_style(style.expect("the template is valid"))
}
