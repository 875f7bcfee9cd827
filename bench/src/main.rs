//! trine beside its peers: the same work, in alternation, in one run.
//!
//! Every measurement has a process of its own, so that no runtime meets the threads, the heap or
//! the memory of another; ours and the peers take turns, so that a machine that is slow for a while
//! is slow for all of them. Medians and their ratios make the table in `docs/PERFORMANCE.md`.
//!
//! | file | what it holds |
//! |---|---|
//! | `row.rs` | rows, peers, samples |
//! | `rows/` | the work itself, one row a file |
//! | `child.rs` | one measurement in a bounded process |
//! | `series.rs` | the alternation |
//! | `report.rs` | the table |
//! | `ipc/` | two processes and what is between them |
//! | `io/` | servers and what is laid on them |
//! | `machine.rs` | what it was measured on |
//! | `foreign.rs` | peers that are other programs |
//! | `python.rs`, `../python/` | those written in Python |
//! | `go.rs`, `../go/` | those written in Go |

mod child;
mod foreign;
mod go;
mod io;
mod ipc;
mod machine;
mod python;
mod report;
mod row;
mod rows;
mod series;

use std::any::Any;
use std::ffi::OsString;
use std::io::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};

use crate::foreign::Absent;
use crate::io::Served;
use crate::row::{Row, Size, Way};

/// Measure trine and its peers side by side
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Measurements of each peer; the table shows their median [default: 5, quick: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Only these rows (may be given again)
    #[arg(long, value_name = "ROW", value_parser = row_names())]
    only: Vec<String>,
    /// Less work and fewer rounds: for a look, not for the table
    #[arg(long)]
    quick: bool,
    /// Write the table between the markers of this file; with `--only`, not into that of all rows
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = DEFAULT_FILE)]
    write: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Hidden>,
}

const DEFAULT_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PERFORMANCE.md");

#[derive(Subcommand)]
enum Hidden {
    /// One measurement: prints a sample as a line of JSON
    #[command(hide = true)]
    Run {
        row: String,
        peer: String,
        #[arg(long)]
        quick: bool,
        /// The other program that the measurement starts, with its arguments
        #[arg(last = true)]
        program: Vec<OsString>,
    },
    /// A server: prints its address, and serves until it is killed
    #[command(hide = true)]
    Serve { server: Served },
    /// The far side of a means of IPC
    #[command(hide = true)]
    Far(ipc::Far),
    /// The other end of two pipes: answers numbers until there are none
    #[command(hide = true)]
    Answer,
}

fn row_names() -> clap::builder::PossibleValuesParser {
    rows::ALL.iter().map(|row| row.name).collect::<Vec<_>>().into()
}

fn main() -> ExitCode {
    // A worker of procspawn is this program again, and goes no further than this.
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

/// One measurement, in the process made for it.
fn measure(row: &str, peer: &str, size: Size, program: &[OsString]) -> anyhow::Result<()> {
    let row = rows::ALL.into_iter().find(|known| known.name == row).context("no such row")?;
    let peer = row.peers.iter().find(|known| known.name == peer).context("no such peer")?;
    // trine would fall back by itself, and the line would show something else than it says.
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
        .unwrap_or_else(|panic| Err(anyhow::anyhow!("panicked: {}", said(&*panic))))?;
    println!("{}", serde_json::to_string(&sample)?);
    std::io::stdout().flush()?;
    // What still sleeps or runs is not waited for.
    std::process::exit(0);
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    message.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// The whole comparison.
fn compare(args: &Args) -> anyhow::Result<()> {
    let chosen = |row: &&&Row| args.only.is_empty() || args.only.iter().any(|n| n == row.name);
    let rows: Vec<_> = rows::ALL.iter().filter(chosen).copied().collect();
    let rounds = args.rounds.unwrap_or(if args.quick { 2 } else { 5 });
    if let Some(file) = &args.write {
        let whole = file.canonicalize().ok() == Path::new(DEFAULT_FILE).canonicalize().ok();
        anyhow::ensure!(args.only.is_empty() || !whole, "{} is to have all rows", display(file));
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
