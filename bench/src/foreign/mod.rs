//! Peers that are other programs.
//!
//! The sources in Python and Go are embedded in this program, and written to files for the length
//! of a run.
//!
//! | file | contents |
//! |---|---|
//! | `python.rs` | the Python scripts |
//! | `go.rs` | the Go program |
//! | `example.rs` | trine's own examples |
//! | `sources.rs` | the directory that holds the sources |
//! | `absent.rs` | the error of a program that is not installed |

pub mod absent;
pub mod example;
pub mod go;
pub mod python;
mod sources;

use std::process::Command;

use self::example::Examples;
use crate::row::{Program, Size};

/// The programs of a run.
pub struct Foreign {
    pub python: python::Scripts,
    pub go: go::Program,
    pub examples: Examples,
}

impl Foreign {
    /// Writes the sources to files.
    pub fn unpack() -> anyhow::Result<Foreign> {
        let (python, go) = (python::Scripts::unpack()?, go::Program::unpack()?);
        Ok(Foreign { python, go, examples: Examples::default() })
    }

    /// Returns the command that runs `program`.
    ///
    /// # Errors
    ///
    /// The reason why the program cannot be built.
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
