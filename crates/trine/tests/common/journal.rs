//! A log in which preloads and initializers note their starts.

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::path::PathBuf;

use trine::process::{Pool, PoolBuilder};

use super::temporary::TempPath;
use super::waiting::until;

/// The variable that names the test's folder for a worker or its template.
const FOLDER: &str = "TRINE_TEST_FOLDER";

/// A folder of one test, with a log of the processes that have begun.
pub struct Journal(pub TempPath);

impl Journal {
    pub fn new(what: &str) -> Journal {
        Journal(TempPath::folder(what))
    }

    /// Returns the builder of a pool whose workers find the folder.
    pub fn pool(&self, workers: usize) -> PoolBuilder {
        Pool::builder().workers(workers).env(FOLDER, self.path())
    }

    pub fn path(&self) -> &PathBuf {
        &self.0.0
    }

    /// Lists the processes that have begun, in order.
    pub fn began(&self) -> Vec<u32> {
        let log = fs::read_to_string(self.path().join("log")).unwrap_or_default();
        log.lines().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Waits until `count` processes have begun.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<u32> {
        until(|| self.began().len() >= count);
        self.began()
    }
}

/// Returns the folder of the test. Called in a process of such a pool.
pub fn own_folder() -> PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

/// Notes the calling process in the log. Returns the number of entries up to its own.
pub fn begin() -> usize {
    let path = own_folder().join("log");
    let mut log = File::options().create(true).append(true).open(&path).unwrap();
    log.write_all(format!("{}\n", std::process::id()).as_bytes()).unwrap();
    // Other processes may have written more since.
    let end = log.stream_position().unwrap() as usize;
    fs::read_to_string(path).unwrap()[..end].lines().count()
}
