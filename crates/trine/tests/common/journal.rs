//! Where preloads and initializers note that they have begun.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::PathBuf;

use trine::process::{Pool, PoolBuilder};

use super::temporary::TempPath;
use super::waiting::until;

/// The variable by which a worker, or its template, knows the folder of its test.
const FOLDER: &str = "TRINE_TEST_FOLDER";

/// A folder of one test with a list of those who have begun.
pub struct Journal(pub TempPath);

impl Journal {
    pub fn new(what: &str) -> Journal {
        Journal(TempPath::folder(what))
    }

    /// A pool whose workers find the folder.
    pub fn pool(&self, workers: usize) -> PoolBuilder {
        Pool::builder().workers(workers).env(FOLDER, self.path())
    }

    pub fn path(&self) -> &PathBuf {
        &self.0.0
    }

    /// The processes that have begun, in order.
    pub fn began(&self) -> Vec<u32> {
        let log = fs::read_to_string(self.path().join("log")).unwrap_or_default();
        log.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Waits until `count` have begun.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<u32> {
        until(|| self.began().len() >= count);
        self.began()
    }
}

/// In a process of such a pool: the folder of its test.
pub fn own_folder() -> PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

/// In a process of such a pool: notes that it has begun; how many have.
pub fn begin() -> usize {
    let path = own_folder().join("log");
    let mut log = File::options().create(true).append(true).open(&path).unwrap();
    log.write_all(format!("{}\n", std::process::id()).as_bytes()).unwrap();
    // Up to here: others may have written since.
    let end = log.stream_position().unwrap() as usize;
    fs::read_to_string(path).unwrap()[..end].lines().count()
}
