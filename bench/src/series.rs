//! The alternation: ours, then each peer, and round again.

use std::process::Command;

use anyhow::Context;

use crate::child::{Failure, measure};
use crate::python::Scripts;
use crate::row::{Peer, Row, Sample, Size, Way};

/// What the rounds made of one peer.
pub struct Results {
    pub peer: &'static Peer,
    pub samples: Vec<Sample>,
    /// Why samples are missing, once for each.
    pub failures: Vec<String>,
    /// Whether asking again is no use.
    given_up: bool,
}

/// Runs all rounds of a row.
pub fn run(
    row: &'static Row,
    rounds: u32,
    size: Size,
    scripts: &Scripts,
) -> anyhow::Result<Vec<Results>> {
    let fresh = |peer| Results { peer, samples: vec![], failures: vec![], given_up: false };
    let mut all: Vec<_> = row.peers.iter().map(fresh).collect();
    for round in 1..=rounds {
        for results in all.iter_mut().filter(|results| !results.given_up) {
            let said = results.add(row, size, scripts)?;
            eprintln!("[{round}/{rounds}] {}: {}: {said}", row.name, results.peer.name);
        }
    }
    Ok(all)
}

impl Results {
    /// Measures once more, and says what came of it.
    fn add(&mut self, row: &Row, size: Size, scripts: &Scripts) -> anyhow::Result<String> {
        let failure = match measure(command(row, self.peer, size, scripts)?, row.limit) {
            Ok(sample) => {
                let said = format!("{:?}", sample.values);
                self.samples.push(sample);
                return Ok(said);
            }
            Err(Failure::Absent(why)) => {
                self.given_up = true;
                why
            }
            Err(Failure::TimedOut(limit)) => {
                self.given_up = true;
                format!("no answer in {} s", limit.as_secs())
            }
            Err(Failure::Failed(why)) => why,
        };
        self.failures.push(failure.clone());
        Ok(failure)
    }
}

fn command(row: &Row, peer: &Peer, size: Size, scripts: &Scripts) -> anyhow::Result<Command> {
    let mut command = match peer.way {
        Way::Python { script, function } => scripts.command(script, function, size.quick),
        Way::Rust(_) => {
            let program = std::env::current_exe().context("cannot find this program's file")?;
            let mut command = Command::new(program);
            command.args(["run", row.name, peer.name]);
            command.args(size.quick.then_some("--quick"));
            command
        }
    };
    // Settings of the caller's shell are no part of the comparison.
    for (name, _) in std::env::vars_os() {
        if ["TRINE_", "TOKIO_", "RAYON_", "RUST_"]
            .iter()
            .any(|p| name.to_string_lossy().starts_with(p))
        {
            command.env_remove(name);
        }
    }
    command.envs(peer.env.iter().copied());
    Ok(command)
}
