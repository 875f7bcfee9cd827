//! trine's own examples as servers, measured as they are in the repository.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use crate::row::Example;

/// The examples of a run, each built at its first use.
#[derive(Default)]
pub struct Examples(RefCell<HashMap<Example, Result<PathBuf, String>>>);

impl Examples {
    /// Returns the command that runs `example` at an address that the example chooses.
    ///
    /// # Errors
    ///
    /// The reason why the example cannot be built.
    pub fn command(&self, example: Example) -> Result<Command, String> {
        let mut built = self.0.borrow_mut();
        let file = built.entry(example).or_insert_with(|| build(example)).as_ref()?;
        let mut command = Command::new(file);
        command.arg("127.0.0.1:0");
        Ok(command)
    }
}

/// A message of cargo, of which only some name an executable.
#[derive(Deserialize)]
struct CargoMessage {
    executable: Option<PathBuf>,
}

fn build(example: Example) -> Result<PathBuf, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--offline", "--message-format=json", "-p", "trine"]);
    cargo.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml")]);
    cargo.args(["--example", example.name]);
    cargo.args(example.feature.iter().flat_map(|feature| ["--features", feature]));
    let output = cargo.output().map_err(|error| format!("cargo does not start: {error}"))?;
    let executable = |line: &str| serde_json::from_str::<CargoMessage>(line).ok()?.executable;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success()
        && let Some(file) = stdout.lines().find_map(executable)
    {
        return Ok(file);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let why = stderr.lines().find(|line| line.starts_with("error"));
    Err(format!("the example {}: {}", example.name, why.unwrap_or("cargo printed no error")))
}
