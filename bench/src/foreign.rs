//! Peers that are not Rust: their sources travel in this program, and stand in files for the length
//! of a run.

use anyhow::Context;
use tempfile::TempDir;

use crate::{go, python};

/// What runs them.
pub struct Foreign {
    pub python: python::Scripts,
    pub go: go::Program,
}

impl Foreign {
    /// Writes the sources out.
    pub fn unpack() -> anyhow::Result<Foreign> {
        Ok(Foreign { python: python::Scripts::unpack()?, go: go::Program::unpack()? })
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
