//! Peers that are other programs. The sources of those that are not Rust travel in this program, and stand
//! in files for the length of a run.

use std::process::Command;

use anyhow::Context;
use tempfile::TempDir;

use crate::io::example::Examples;
use crate::row::{Program, Size};
use crate::{go, python};

/// A program is not on this machine.
#[derive(Debug)]
pub struct Absent(pub String);

impl std::fmt::Display for Absent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Absent {}

/// What runs them.
pub struct Foreign {
    pub python: python::Scripts,
    pub go: go::Program,
    pub examples: Examples,
}

impl Foreign {
    /// Writes the sources out.
    pub fn unpack() -> anyhow::Result<Foreign> {
        let (python, go) = (python::Scripts::unpack()?, go::Program::unpack()?);
        Ok(Foreign { python, go, examples: Examples::default() })
    }

    /// The command that runs `program`.
    ///
    /// # Errors
    ///
    /// Why there is no program.
    pub fn command(&self, program: Program, size: Size) -> Result<Command, String> {
        match program {
            Program::Go(row) => self.go.command(row, size.quick),
            Program::Example { example, args } => {
                let mut command = self.examples.command(example)?;
                command.args(args);
                Ok(command)
            }
        }
    }
}

/// Writes `files` into a fresh directory, which is removed when dropped.
pub fn unpack(files: &[(&str, &str)]) -> anyhow::Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("trine-bench-").tempdir();
    let dir = dir.context("cannot create a directory for the peers' sources")?;
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text)
            .with_context(|| format!("cannot write {name} to {}", dir.path().display()))?;
    }
    Ok(dir)
}
