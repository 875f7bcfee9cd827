//! trine beside its peers: the same work, in alternation, in one run.
//!
//! Each measurement runs in a process of its own, so no runtime shares threads, heap or memory with
//! another. trine and its peers take turns, so a machine that is slow for a while is slow for all.
//! The table in `docs/PERFORMANCE.md` shows the medians and their ratios.
//!
//! | file | contents |
//! |---|---|
//! | `row.rs` | rows, peers, samples |
//! | `rows/` | the rows: the work that is measured |
//! | `series.rs` | the alternation of the peers of a row |
//! | `child.rs` | one measurement in a bounded process |
//! | `report.rs` | the table |
//! | `machine.rs` | the paragraph above the table: machine, versions, date |
//! | `io/` | servers and the load on them, for the rows of sockets |
//! | `ipc/` | two processes and the means of IPC between them |
//! | `foreign/`, `../python/`, `../go/` | peers that are other programs |
//! | `procfs.rs`, `panic_message.rs` | figures from `/proc`; the text of a panic |

mod child;
mod foreign;
mod io;
mod ipc;
mod machine;
mod panic_message;
mod procfs;
mod report;
mod row;
mod rows;
mod series;

use std::ffi::OsString;
use std::io::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::foreign::absent::Absent;
use crate::io::serve::Served;
use crate::panic_message::panic_message;
use crate::row::{Row, Size, Way};

/// Measure trine and its peers side by side
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Measurements of each peer; the table shows their median [default: 5, quick: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Measure only these rows (may be repeated)
    #[arg(long, value_name = "ROW", value_parser = row_names())]
    only: Vec<String>,
    /// Do less work in fewer rounds: for a quick look, not for the table
    #[arg(long)]
    quick: bool,
    /// Write the table between the markers of this file; with `--only`, name another file than the
    /// default, which needs all rows
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = DEFAULT_FILE)]
    write: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Hidden>,
}

const DEFAULT_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PERFORMANCE.md");

#[derive(Subcommand)]
enum Hidden {
    /// Takes one measurement and prints its sample as a line of JSON
    #[command(hide = true)]
    Run {
        row: String,
        peer: String,
        #[arg(long)]
        quick: bool,
        /// The other program that the measurement starts, and its arguments
        #[arg(last = true)]
        program: Vec<OsString>,
    },
    /// Prints its address and serves until it is killed
    #[command(hide = true)]
    Serve { server: Served },
    /// Runs the far side of a means of IPC
    #[command(hide = true)]
    Far(ipc::Far),
    /// Answers numbers on standard input until it ends
    #[command(hide = true)]
    Answer,
}

fn row_names() -> clap::builder::PossibleValuesParser {
    rows::ALL.iter().map(|row| row.name).collect::<Vec<_>>().into()
}

fn main() -> ExitCode {
    // A worker of procspawn is this program again, and never returns from this call.
    procspawn::init();
    let mut args = Args::parse();
    let result = match args.command.take() {
        Some(Hidden::Run { row, peer, quick, program }) => {
            measure(&row, &peer, Size { quick }, &program)
        }
        Some(Hidden::Serve { server }) => server.run(),
        Some(Hidden::Far(far)) => ipc::far(far),
        Some(Hidden::Answer) => rows::answer(),
        None => compare(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trine-bench: {error:#}");
            if error.is::<Absent>() { child::ABSENT.into() } else { ExitCode::FAILURE }
        }
    }
}

/// Takes one measurement, in the process made for it.
fn measure(row: &str, peer: &str, size: Size, program: &[OsString]) -> anyhow::Result<()> {
    let row = rows::ALL.into_iter().find(|known| known.name == row).context("no such row")?;
    let peer = row.peers.iter().find(|known| known.name == peer).context("no such peer")?;
    // trine would fall back to epoll, and the figures of epoll would stand in the line of io_uring.
    if std::env::var_os("TRINE_REACTOR").is_some_and(|wanted| wanted == "uring")
        && let Some(why) = trine::reactor().refused()
    {
        return Err(Absent(format!("io_uring was refused: {why}")).into());
    }
    let run = || match peer.way {
        Way::Rust(run) => run(size),
        Way::With { run, .. } => {
            let (program, args) = program.split_first().context("no program")?;
            let mut command = Command::new(program);
            command.args(args);
            run(command, size)
        }
        _ => anyhow::bail!("{} is not Rust", peer.name),
    };
    let sample = catch_unwind(run)
        .unwrap_or_else(|panic| Err(anyhow::anyhow!("panicked: {}", panic_message(&*panic))))?;
    println!("{}", serde_json::to_string(&sample)?);
    std::io::stdout().flush()?;
    // Ends without waiting for tasks that still sleep or run.
    std::process::exit(0);
}

/// Measures all chosen rows and prints or writes the table.
fn compare(args: &Args) -> anyhow::Result<()> {
    let chosen = |row: &&&Row| args.only.is_empty() || args.only.iter().any(|n| n == row.name);
    let rows: Vec<_> = rows::ALL.iter().filter(chosen).copied().collect();
    let rounds = args.rounds.unwrap_or(if args.quick { 2 } else { 5 });
    if let Some(file) = &args.write {
        let whole = file.canonicalize().ok() == Path::new(DEFAULT_FILE).canonicalize().ok();
        anyhow::ensure!(
            args.only.is_empty() || !whole,
            "{} needs all rows: leave out --only, or name another file",
            display(file)
        );
        report::check(file)?;
    }

    let head = machine::describe(args.quick, rounds);
    println!("{head}");
    let foreign = foreign::Foreign::unpack()?;
    let mut table = head;
    for row in rows {
        let results = series::run(row, rounds, Size { quick: args.quick }, &foreign);
        let section = report::section(row, &results);
        println!("\n{section}");
        table = format!("{table}\n\n{section}");
    }
    if let Some(file) = &args.write {
        report::write(file, &table)?;
        eprintln!("The table is in {}.", display(file));
    }
    Ok(())
}

fn display(file: &Path) -> String {
    file.canonicalize().unwrap_or_else(|_| file.to_owned()).display().to_string()
}
