//! The Go peers: one program without dependencies, built once per run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::sources::unpack;

const MAIN: &str = include_str!("../../go/main.go");
const SOURCES: [(&str, &str); 12] = [
    ("go.mod", include_str!("../../go/go.mod")),
    ("main.go", MAIN),
    ("cancel.go", include_str!("../../go/cancel.go")),
    ("channel.go", include_str!("../../go/channel.go")),
    ("files.go", include_str!("../../go/files.go")),
    ("idle.go", include_str!("../../go/idle.go")),
    ("ping_pong.go", include_str!("../../go/ping_pong.go")),
    ("server.go", include_str!("../../go/server.go")),
    ("skynet.go", include_str!("../../go/skynet.go")),
    ("spawn_join.go", include_str!("../../go/spawn_join.go")),
    ("timers.go", include_str!("../../go/timers.go")),
    ("yielding.go", include_str!("../../go/yielding.go")),
];

/// A directory with the sources and the program, removed when dropped.
pub struct Program {
    dir: TempDir,
    /// The program's file, or the reason why it could not be built.
    built: OnceLock<Result<PathBuf, String>>,
}

impl Program {
    /// Writes the sources to files.
    pub fn unpack() -> anyhow::Result<Program> {
        Ok(Program { dir: unpack(&SOURCES)?, built: OnceLock::new() })
    }

    /// Returns the command that measures `row`. The first call builds the program.
    ///
    /// # Errors
    ///
    /// The reason why the program cannot be built.
    pub fn command(&self, row: &str, quick: bool) -> Result<Command, String> {
        let file = self.built.get_or_init(|| build(self.dir.path())).as_ref()?;
        let mut command = Command::new(file);
        command.arg(row).arg(if quick { "quick" } else { "full" });
        Ok(command)
    }
}

fn build(dir: &Path) -> Result<PathBuf, String> {
    let file = dir.join("bench");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&file).arg(".").current_dir(dir);
    // Settings of the caller's shell must not change the comparison. Nothing is downloaded.
    go.env_remove("GOFLAGS").envs([
        ("GOWORK", "off"),
        ("GOTOOLCHAIN", "local"),
        ("GOPROXY", "off"),
    ]);
    let output = go.output().map_err(|error| format!("go does not start: {error}"))?;
    if output.status.success() {
        return Ok(file);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("go build: {}", errors.trim().lines().last().unwrap_or("printed no error")))
}

/// Returns the version of the installed tool chain, if there is one.
pub fn version() -> Option<String> {
    let output = Command::new("go").args(["env", "GOVERSION"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().strip_prefix("go")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Way;

    #[test]
    fn every_go_peer_is_a_row_of_the_program() {
        let peers = crate::rows::ALL.iter().flat_map(|row| row.peers);
        for peer in peers {
            if let Way::Go { row } | Way::With { program: crate::row::Program::Go(row), .. } =
                peer.way
            {
                assert!(MAIN.contains(&format!("\n\t\"{row}\": ")), "{row}");
            }
        }
    }
}
