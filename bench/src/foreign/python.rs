//! The Python peers: scripts, written to files for the length of a run.
//!
//! They have to be files, because a worker started by `multiprocessing`'s `spawn` or `forkserver`
//! imports its parent's script again.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::sources::unpack;

const SCRIPTS: [(&str, &str); 7] = [
    ("sample.py", include_str!("../../python/sample.py")),
    ("roundtrip.py", include_str!("../../python/roundtrip.py")),
    ("fresh.py", include_str!("../../python/fresh.py")),
    ("throughput.py", include_str!("../../python/throughput.py")),
    ("argument.py", include_str!("../../python/argument.py")),
    ("ready.py", include_str!("../../python/ready.py")),
    ("worker_kill.py", include_str!("../../python/worker_kill.py")),
];

/// The one peer that is not part of Python, as pip names it.
const LOKY: &str = "loky==3.7.0";

/// A directory with the scripts, removed when dropped.
pub struct Scripts {
    dir: TempDir,
    loky: OnceCell<Result<PathBuf, String>>,
}

impl Scripts {
    /// Writes the scripts to files.
    pub fn unpack() -> anyhow::Result<Scripts> {
        Ok(Scripts { dir: unpack(&SCRIPTS)?, loky: OnceCell::new() })
    }

    /// Returns the command that runs `function` of `script`.
    pub fn command(&self, script: &str, function: &str, quick: bool) -> Command {
        let mut command = Command::new("python3");
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("TMPDIR", self.dir.path());
        command.arg(self.dir.path().join(script)).arg(function);
        command.arg(if quick { "quick" } else { "full" });
        command
    }

    /// Returns the directory of loky. The first call installs it beside the scripts.
    ///
    /// # Errors
    ///
    /// The reason why it cannot be installed.
    pub fn loky(&self) -> Result<PathBuf, String> {
        let install = || {
            let site = self.dir.path().join("site");
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            pip.args(["--retries", "1", "--timeout", "10", "--target"]).arg(&site).arg(LOKY);
            let output =
                pip.output().map_err(|error| format!("python3 does not start: {error}"))?;
            if output.status.success() {
                return Ok(site);
            }
            let errors = String::from_utf8_lossy(&output.stderr);
            let last =
                errors.lines().rfind(|line| line.starts_with("ERROR")).unwrap_or("no reason given");
            Err(format!("pip could not install {LOKY}: {}", last.trim_start_matches("ERROR: ")))
        };
        self.loky.get_or_init(install).clone()
    }
}

/// Returns the version of the installed interpreter, if there is one.
pub fn version() -> Option<String> {
    let output = Command::new("python3").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().strip_prefix("Python ")?.to_owned())
}
