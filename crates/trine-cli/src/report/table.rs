//! Tables for people.

use std::fmt::Write;
use std::io::IsTerminal;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::{unit, verdict};
use crate::measure::costs::{Figure, Row, Unit};
use crate::measure::machine::Machine;
use crate::measure::poison::Scene;
use crate::measure::request::Poison;
use crate::measure::workload::{Run, Workload};

/// Describes the machine, and the settings of trine that follow from it.
pub(crate) fn machine(machine: &Machine) -> String {
    let Machine { cpu, cores, architecture, kernel, carriers, workers, reactor, optimised } =
        machine;
    let cpu = if cpu.is_empty() { "unknown processor" } else { cpu };
    let cores = unit::counted(*cores, "core");
    let carriers = unit::counted(*carriers, "carrier");
    let workers = unit::counted(*workers, "worker");
    let mut text = format!(
        "{cpu}, {cores}, {architecture}, Linux {kernel}\n\
         {carriers} for coroutines, {workers} in a pool of processes, waits by {reactor}\n"
    );
    if !optimised {
        text += "Built without optimisation: run with --release for figures that mean something.\n";
    }
    text
}

/// Formats the costs of a task of each kind, and the descriptions of their measurements.
pub(crate) fn costs(rows: &[Row]) -> String {
    let mut table = table(&["cost", "coroutine", "thread", "process"]);
    let (mut failed, mut notes) = (String::new(), String::new());
    for row in rows {
        let units = match row.unit {
            Unit::Nanoseconds => unit::TIME,
            Unit::Bytes => unit::BYTES,
        };
        let mut cells = vec![Cell::new(row.title)];
        for (kind, cell) in row.kinds.each() {
            cells.push(match &cell.figure {
                Figure::Measured(spread) => right(units.show_spread(spread)),
                Figure::Failed { error } => {
                    let _ = writeln!(failed, "FAILED: {}, {kind}: {error}", row.title);
                    right("failed".into())
                }
            });
        }
        table.add_row(cells);
        notes += &how(row);
    }
    let verdict = verdict::costs(rows);
    format!("\nWhat a task costs: median (min … p95)\n{table}\n{failed}{verdict}{notes}")
}

/// Describes the measurements of a row: for each kind, or once if all are the same.
fn how(row: &Row) -> String {
    let kinds = row.kinds.each();
    if kinds.iter().all(|(_, cell)| cell.how == kinds[0].1.how) {
        return format!("{}: {}\n", row.title, kinds[0].1.how);
    }
    let mut text = format!("{}:\n", row.title);
    for (kind, cell) in kinds {
        let _ = writeln!(text, "  {kind:<9}  {}", cell.how);
    }
    text
}

/// If the plain loop takes less than this, in nanoseconds, the work is too small to distribute.
const TOO_SHORT: f64 = 50e6;

/// The number of unreadable paths that are listed.
const UNREADABLE_SHOWN: usize = 10;

/// Formats the real work, run four ways.
pub(crate) fn workload(workload: &Workload) -> String {
    let mut table = table(&["run as", "wall time", "CPU time", "throughput"]);
    let mut add = |name: &str, run: &Run| {
        table.add_row([
            Cell::new(name),
            right(unit::TIME.show_spread(&run.wall)),
            right(unit::TIME.show(run.cpu.median)),
            right(format!("{}/s", unit::BYTES.show(run.bytes_per_second))),
        ]);
    };
    add("plain loop", &workload.plain_loop);
    for (kind, run) in workload.kinds.each() {
        add(&kind.to_string(), run);
    }
    let rounds = unit::counted(workload.plain_loop.wall.samples, "round");
    let files = unit::counted(workload.files, "file");
    let bytes = unit::BYTES.show(workload.bytes as f64);
    let mut text = format!(
        "\nReal work: sha256 and word count of {files}, {bytes}, in {}; {rounds}\n{table}\n",
        workload.input
    );
    for unreadable in workload.unreadable.iter().take(UNREADABLE_SHOWN) {
        let _ = writeln!(text, "could not read {}: {}", unreadable.path, unreadable.error);
    }
    if let Some(more @ 1..) = workload.unreadable.len().checked_sub(UNREADABLE_SHOWN) {
        let _ = writeln!(text, "could not read {more} more; --json lists them");
    }
    if workload.plain_loop.wall.median < TOO_SHORT {
        text += "So little work mostly shows the cost of distributing it: \
                 name a larger directory with --input DIR.\n";
    }
    text += &verdict::workload(workload);
    if workload.agree {
        let _ = writeln!(
            text,
            "All three kinds agree with the plain loop on every file: {} words.",
            workload.words
        );
        return text;
    }
    let _ = writeln!(text, "THE KINDS DO NOT AGREE: {} results differ.", workload.differing);
    for difference in &workload.differences {
        let _ = writeln!(text, "  {} {}", difference.kind, difference.path);
        let _ = writeln!(text, "    expected: {}", difference.expected);
        let _ = writeln!(text, "    got:      {}", difference.got);
    }
    text += "If the files have changed meanwhile, measure again.\n";
    text
}

/// Formats the outcome of a poisoned item for each kind.
pub(crate) fn poison(scenes: &[Scene]) -> String {
    let items = scenes.first().map_or(0, |scene| scene.items);
    let mut table = table(&["one item", "run as", "outcome"]);
    let mut errors = String::new();
    for scene in scenes {
        let poison = match scene.poison {
            Poison::Panic => "panics",
            Poison::Crash => "dereferences null",
        };
        table.add_row([poison.to_owned(), scene.kind.to_string(), outcome(scene)]);
        for failure in &scene.failures {
            let _ = writeln!(errors, "  {}", failure.text);
        }
    }
    let mut text =
        format!("\nA poisoned item among {items}, each kind in a program of its own\n{table}\n");
    text += &verdict::poison(scenes);
    if !errors.is_empty() {
        let _ = write!(text, "The errors:\n{errors}");
    }
    text
}

/// Describes the outcome of a scene in a few words.
fn outcome(scene: &Scene) -> String {
    let mut text = if scene.survived {
        let errors = unit::counted(scene.failures.len(), "TaskError");
        format!("{errors}, {} results", scene.results)
    } else if let Some(signal) = scene.signal {
        let received = scene.results + scene.wrong + scene.failures.len();
        let items = scene.items;
        let name = signal_name(signal);
        format!("the whole program died of {name} after {received} of {items} results")
    } else {
        format!("failed: {}", scene.error.as_deref().unwrap_or("for no known reason"))
    };
    if scene.wrong > 0 {
        let _ = write!(text, ", {} WRONG", scene.wrong);
    }
    if !scene.as_expected {
        text += " (NOT AS EXPECTED)";
    }
    text
}

/// Returns the name of a signal that may end a crashed program.
fn signal_name(signal: i32) -> String {
    use rustix::process::Signal;
    let names = [
        (Signal::SEGV, "SIGSEGV"),
        (Signal::BUS, "SIGBUS"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::ILL, "SIGILL"),
        (Signal::TRAP, "SIGTRAP"),
        (Signal::KILL, "SIGKILL"),
        (Signal::TERM, "SIGTERM"),
    ];
    let known = names.into_iter().find(|(known, _)| known.as_raw() == signal);
    known.map_or_else(|| format!("signal {signal}"), |(_, name)| name.to_owned())
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(head);
    if let Some(width) = terminal_width() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table
}

/// Returns the width of the terminal; `None`, so no line is broken, if standard output is none.
fn terminal_width() -> Option<u16> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(&stdout).ok()?.ws_col;
    (columns > 0).then_some(columns)
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}
