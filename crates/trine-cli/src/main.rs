//! The program `trine`: what coroutines, threads and processes cost on this machine, and what of
//! trine works there; failed tasks replayed.
//!
//! | file | contents |
//! |---|---|
//! | `main.rs` | the command line and the exit codes |
//! | `run.rs` | the command `measure`: its options, its steps, its document |
//! | `measure/` | the measurements |
//! | `doctor/` | the command `doctor` |
//! | `replay.rs` | the command `replay` |
//! | `report/` | their presentation: tables, or JSON |
//! | `bad_input.rs` | the error that the user has to put right |

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bad_input;
mod doctor;
mod measure;
mod replay;
mod report;
mod run;

use bad_input::BadInput;

const AFTER_HELP: &str = "\
Examples:
  trine measure                     measure on the repository's own source tree
  trine measure --quick             the same in a second or two, with wider spreads
  trine measure --input ~/src       with the files under ~/src as the workload
  trine measure --only costs        only what a task costs
  trine measure --json > now.json   one JSON document instead of the tables
  trine doctor                      what works on this machine, and what to do about the rest

Exit codes:
  0  everything was measured and agreed
  1  a measurement failed, or the three kinds did not agree
  2  bad usage or bad input";

/// One task, three ways to run it: coroutines, threads and processes, measured side by side
#[derive(Parser)]
#[command(name = "trine", version, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the same work as coroutines, on threads and in processes, and report what each costs
    #[command(after_help = AFTER_HELP)]
    Measure(run::Options),
    /// Try what trine uses on this machine: what works, what is limited, and the remedy
    #[command(after_help = doctor::AFTER_HELP)]
    Doctor(doctor::Options),
    /// Run a task again that a process pool has recorded in a crash capsule
    #[command(after_help = replay::AFTER_HELP)]
    Replay(replay::Options),
    /// One measurement in a program of its own; request on standard input, answer as JSON lines
    #[command(hide = true)]
    Part,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Measure(options) => run::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Replay(options) => replay::run(&options),
        Command::Part => measure::answer().map(|()| true),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // The reader of the output has closed it, like `head` after its last line.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed too, the error cannot be printed anywhere.
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("trine: {error:#}\n"));
            ExitCode::from(if error.is::<BadInput>() { 2 } else { 1 })
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
