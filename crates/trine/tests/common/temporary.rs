//! Names and places that no other test has.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// A name with `what` in it that no other has, in this process or another one.
pub fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("trine-test-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed))
}

/// A path where nothing is yet; what is there is removed when it is dropped.
pub struct TempPath(pub PathBuf);

impl TempPath {
    pub fn new(what: &str) -> TempPath {
        TempPath(std::env::temp_dir().join(unique(what)))
    }

    /// With an empty folder.
    pub fn folder(what: &str) -> TempPath {
        let path = TempPath::new(what);
        fs::create_dir(&path).unwrap();
        path
    }

    /// A place inside the folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// As process tasks take it.
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
