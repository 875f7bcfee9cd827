//! The alternation: each round measures trine, then each peer.

use std::process::Command;

use crate::child::{Failure, measure};
use crate::foreign::Foreign;
use crate::row::{Peer, Row, Sample, Size, Way};

/// Prefixes of the environment variables that the runtimes read.
const SETTINGS: [&str; 8] =
    ["TRINE_", "TOKIO_", "RAYON_", "RUST_", "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GODEBUG"];

/// The results of one peer over all rounds.
pub struct Results {
    pub peer: &'static Peer,
    pub samples: Vec<Sample>,
    /// The reason for each missing sample.
    pub failures: Vec<String>,
    /// True once the peer is absent or has timed out: further rounds skip it.
    given_up: bool,
}

/// Runs all rounds of a row.
pub fn run(row: &'static Row, rounds: u32, size: Size, foreign: &Foreign) -> Vec<Results> {
    let fresh = |peer| Results { peer, samples: vec![], failures: vec![], given_up: false };
    let mut all: Vec<_> = row.peers.iter().map(fresh).collect();
    for round in 1..=rounds {
        for results in all.iter_mut().filter(|results| !results.given_up) {
            let outcome = results.add(row, size, foreign);
            eprintln!("[{round}/{rounds}] {}: {}: {outcome}", row.name, results.peer.name);
        }
    }
    all
}

impl Results {
    /// Measures once more, and returns the outcome as text.
    fn add(&mut self, row: &Row, size: Size, foreign: &Foreign) -> String {
        let failure = match command(row, self.peer, size, foreign)
            .and_then(|command| measure(command, row.limit))
        {
            Ok(sample) => {
                let values = format!("{:?}", sample.values);
                self.samples.push(sample);
                return values;
            }
            Err(Failure::Absent(why)) => {
                self.given_up = true;
                why
            }
            Err(Failure::TimedOut(limit)) => {
                self.given_up = true;
                format!("no result within {} s", limit.as_secs())
            }
            Err(Failure::Failed(why)) => why,
        };
        self.failures.push(failure.clone());
        failure
    }
}

/// Makes the command that takes one measurement.
fn command(row: &Row, peer: &Peer, size: Size, foreign: &Foreign) -> Result<Command, Failure> {
    let mut command = match peer.way {
        Way::Python { script, function, loky } => {
            let mut command = foreign.python.command(script, function, size.quick);
            if loky {
                command.env("PYTHONPATH", foreign.python.loky().map_err(Failure::Absent)?);
            }
            command
        }
        Way::Go { row } => foreign.go.command(row, size.quick).map_err(Failure::Absent)?,
        Way::Rust(_) => ourselves(row, peer, size)?,
        Way::With { program, .. } => {
            let program = foreign.command(program, size).map_err(Failure::Absent)?;
            let mut command = ourselves(row, peer, size)?;
            command.arg("--").arg(program.get_program()).args(program.get_args());
            command
        }
    };
    // Settings of the caller's shell must not change the comparison.
    for (name, _) in std::env::vars_os() {
        let begins = |prefix: &&str| name.to_string_lossy().starts_with(prefix);
        if SETTINGS.iter().any(begins) {
            command.env_remove(name);
        }
    }
    command.envs(peer.env.iter().copied());
    Ok(command)
}

/// Makes the command that runs this program again to measure `peer`.
fn ourselves(row: &Row, peer: &Peer, size: Size) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::Absent(format!("cannot find this program's file: {error}")))?;
    let mut command = Command::new(program);
    command.args(["run", row.name, peer.name]);
    command.args(size.quick.then_some("--quick"));
    Ok(command)
}
