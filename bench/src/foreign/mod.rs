//! Peers that are other programs. The sources of those that are not Rust travel in this program, and stand
//! in files for the length of a run.

pub mod absent;
pub mod example;
pub mod go;
pub mod python;
mod sources;

use std::process::Command;

use self::example::Examples;
use crate::row::{Program, Size};

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
