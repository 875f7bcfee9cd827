//! The command `trine replay`: shows a crash capsule, and runs its task again.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use trine::process::{Capsule, Replay};

use crate::bad_input::BadInput;

pub(crate) const AFTER_HELP: &str = "\
Examples:
  trine replay crashes/*-4711-0.capsule          run the task again, in a worker of its program
  trine replay --gdb crashes/*-4711-0.capsule    the same under the debugger gdb
  trine replay --show crashes/*-4711-0.capsule   only show what the capsule holds

Exit codes:
  0  the task returned a value this time (or --show)
  1  the task failed again
  2  bad usage, no capsule, or another build of the program";

/// The options of `trine replay`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The file that a pool with `capsules(DIRECTORY)` has left there
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Run the task under gdb, which stops where it crashes
    #[arg(long, conflicts_with = "show")]
    gdb: bool,
    /// Show the capsule, run nothing
    #[arg(long)]
    show: bool,
    /// The executable, if it has moved; it has to be the same build
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// Shows the capsule and runs its task. Returns false if the task failed again.
pub(crate) fn run(options: &Options) -> anyhow::Result<bool> {
    let capsule = Capsule::read(&options.file)
        .map_err(|error| BadInput(format!("{}: {error}", options.file.display())))?;
    show(&capsule)?;
    if options.show {
        return Ok(true);
    }
    let replay = if options.gdb { Replay::Here } else { Replay::Worker };
    let recorded = capsule.command(replay);
    let program = options.program.as_deref().unwrap_or_else(|| capsule.program());
    // Another program would ignore the variable and run its `main`.
    match capsule.is_of(program) {
        Ok(true) => {}
        Ok(false) => {
            let text = format!("{} is not the build that left this capsule", program.display());
            return Err(BadInput(text).into());
        }
        Err(error) => return Err(BadInput(format!("{}: {error}", program.display())).into()),
    }
    let mut command = if options.gdb {
        let mut gdb = Command::new("gdb");
        gdb.args(["-q", "-ex", "run", "--args"]).arg(program);
        gdb
    } else {
        Command::new(program)
    };
    command.args(recorded.get_args());
    for (key, value) in recorded.get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    if options.gdb {
        // Ctrl-C and the terminal belong to the debugger.
        return Err(command.exec()).context("cannot start gdb; is it installed?");
    }
    let status = command
        .status()
        .map_err(|error| BadInput(format!("cannot start {}: {error}", program.display())))?;
    match status.code() {
        Some(0) => Ok(true),
        Some(Capsule::REFUSED) => Err(BadInput("the program refused the capsule".into()).into()),
        _ => Ok(false),
    }
}

/// Prints what the capsule holds.
fn show(capsule: &Capsule) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "program     {}", capsule.program().display())?;
    writeln!(out, "task        {}", printable(capsule.task()))?;
    writeln!(out, "cause       {}", printable(capsule.cause()))?;
    writeln!(out, "time        {}", humantime::format_rfc3339_seconds(capsule.time()))?;
    writeln!(out, "attempts    {}", capsule.attempts())?;
    match capsule.argument() {
        Ok(argument) => writeln!(out, "argument    {} bytes", argument.len())?,
        Err(reason) => writeln!(out, "argument    not recorded: {reason}")?,
    }
    writeln!(out, "environment {} variables", capsule.environment().count())?;
    for (name, output) in [("stdout", capsule.stdout()), ("stderr", capsule.stderr())] {
        if !output.is_empty() {
            writeln!(out, "{name}:\n{}", printable(&String::from_utf8_lossy(output)))?;
        }
    }
    if !capsule.backtrace().is_empty() {
        writeln!(out, "backtrace:\n{}", printable(capsule.backtrace()))?;
    }
    out.flush()
}

/// Returns a text without the control characters by which it could command a terminal.
fn printable(text: &str) -> String {
    text.trim_end().chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control()).collect()
}
