//! The Python peers: their scripts, for the length of a run, as files.
//!
//! They have to be files: a worker that `multiprocessing` starts by `spawn` or `forkserver` imports
//! its parent's script again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

const SCRIPTS: [(&str, &str); 5] = [
    ("sample.py", include_str!("../python/sample.py")),
    ("roundtrip.py", include_str!("../python/roundtrip.py")),
    ("fresh.py", include_str!("../python/fresh.py")),
    ("throughput.py", include_str!("../python/throughput.py")),
    ("worker_kill.py", include_str!("../python/worker_kill.py")),
];

/// A directory with the scripts, removed when dropped.
pub struct Scripts(PathBuf);

impl Scripts {
    /// Writes the scripts out.
    pub fn unpack() -> anyhow::Result<Scripts> {
        let dir = std::env::temp_dir().join(format!("trine-bench-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let scripts = Scripts(dir);
        for (name, text) in SCRIPTS {
            std::fs::write(scripts.0.join(name), text)
                .with_context(|| format!("cannot write {name} to {}", scripts.0.display()))?;
        }
        Ok(scripts)
    }

    /// The command that runs `function` of `script`.
    pub fn command(&self, script: &str, function: &str, quick: bool) -> Command {
        let mut command = Command::new("python3");
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("TMPDIR", &self.0);
        command.arg(self.path().join(script)).arg(function);
        command.arg(if quick { "quick" } else { "full" });
        command
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scripts {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The interpreter's version, if there is one.
pub fn version() -> Option<String> {
    let output = Command::new("python3").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().strip_prefix("Python ")?.to_owned())
}
