//! The Python peers: their scripts, for the length of a run, as files.
//!
//! They have to be files: a worker that `multiprocessing` starts by `spawn` or `forkserver` imports
//! its parent's script again.

use std::process::Command;

use tempfile::TempDir;

const SCRIPTS: [(&str, &str); 5] = [
    ("sample.py", include_str!("../python/sample.py")),
    ("roundtrip.py", include_str!("../python/roundtrip.py")),
    ("fresh.py", include_str!("../python/fresh.py")),
    ("throughput.py", include_str!("../python/throughput.py")),
    ("worker_kill.py", include_str!("../python/worker_kill.py")),
];

/// A directory with the scripts, removed when dropped.
pub struct Scripts(TempDir);

impl Scripts {
    /// Writes the scripts out.
    pub fn unpack() -> anyhow::Result<Scripts> {
        Ok(Scripts(crate::foreign::unpack(&SCRIPTS)?))
    }

    /// The command that runs `function` of `script`.
    pub fn command(&self, script: &str, function: &str, quick: bool) -> Command {
        let mut command = Command::new("python3");
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("TMPDIR", self.0.path());
        command.arg(self.0.path().join(script)).arg(function);
        command.arg(if quick { "quick" } else { "full" });
        command
    }
}

/// The interpreter's version, if there is one.
pub fn version() -> Option<String> {
    let output = Command::new("python3").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().strip_prefix("Python ")?.to_owned())
}
