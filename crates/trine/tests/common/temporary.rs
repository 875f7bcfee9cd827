//! Names and paths that no other test has.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Returns a name with `what` in it that no other test has, in this process or another.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("trine-test-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed))
}

/// A path at which nothing exists yet. Drop removes whatever is there.
pub struct TempPath(pub PathBuf);

impl TempPath {
    pub fn new(what: &str) -> TempPath {
        TempPath(std::env::temp_dir().join(unique(what)))
    }

    /// Makes an empty folder at the path.
    pub fn folder(what: &str) -> TempPath {
        let path = TempPath::new(what);
        fs::create_dir(&path).unwrap();
        path
    }

    /// Returns a path inside the folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Returns the path in the form that process tasks take as their argument.
    pub fn owned(&self) -> PathBuf {
        self.0.clone()
    }
}

impl AsRef<Path> for TempPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0).or_else(|_| fs::remove_dir_all(&self.0));
    }
}
