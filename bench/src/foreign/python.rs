//! The Python peers: their scripts, for the length of a run, as files.
//!
//! They have to be files: a worker that `multiprocessing` starts by `spawn` or `forkserver` imports
//! its parent's script again.

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

/// The one peer that does not come with Python, from its registry.
const LOKY: &str = "loky==3.7.0";

/// A directory with the scripts, removed when dropped.
pub struct Scripts {
    dir: TempDir,
    loky: OnceCell<Result<PathBuf, String>>,
}

impl Scripts {
    /// Writes the scripts out.
    pub fn unpack() -> anyhow::Result<Scripts> {
        Ok(Scripts { dir: unpack(&SCRIPTS)?, loky: OnceCell::new() })
    }

    /// The command that runs `function` of `script`.
    pub fn command(&self, script: &str, function: &str, quick: bool) -> Command {
        let mut command = Command::new("python3");
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("TMPDIR", self.dir.path());
        command.arg(self.dir.path().join(script)).arg(function);
        command.arg(if quick { "quick" } else { "full" });
        command
    }

    /// Where loky is, put beside the scripts when it is first asked for.
    ///
    /// # Errors
    ///
    /// Why it is nowhere.
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
            let said = String::from_utf8_lossy(&output.stderr);
            let last =
                said.lines().rfind(|line| line.starts_with("ERROR")).unwrap_or("no reason given");
            Err(format!("pip does not install {LOKY}: {}", last.trim_start_matches("ERROR: ")))
        };
        self.loky.get_or_init(install).clone()
    }
}

/// The interpreter's version, if there is one.
pub fn version() -> Option<String> {
    let output = Command::new("python3").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().strip_prefix("Python ")?.to_owned())
}
