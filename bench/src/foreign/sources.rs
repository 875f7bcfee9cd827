//! Source files of peers, kept for the length of a run.

use anyhow::Context;
use tempfile::TempDir;

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
