//! Children of every kind that note their begin and end, and fail when the test says so.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use trine::supervisor::{Child, ChildState, Context, Handle};
use trine::{Kind, time};

use crate::common::temporary::TempPath;
use crate::common::waiting::until;

/// The folder of one test: a log of all children, and a file for each wish of the test.
#[derive(Clone, Serialize, Deserialize)]
pub struct Book(pub PathBuf);

impl Book {
    /// Makes an empty book. Dropping the path removes it.
    pub fn new(what: &str) -> (Book, TempPath) {
        let folder = TempPath::folder(what);
        (Book(folder.owned()), folder)
    }

    /// Notes an event. A single write is never interleaved with others.
    pub fn note(&self, event: &str) {
        let path = self.0.join("log");
        let mut log = File::options().create(true).append(true).open(path).unwrap();
        log.write_all(format!("{event}\n").as_bytes()).unwrap();
    }

    /// Returns the events so far.
    pub fn events(&self) -> Vec<String> {
        let log = fs::read_to_string(self.0.join("log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// Returns the events so far in one line.
    pub fn line(&self) -> String {
        self.events().join(" ")
    }

    /// Wishes for something, such as the failure `a0`: that of the first run of `a`.
    pub fn wish(&self, what: &str) {
        File::create(self.0.join(what)).unwrap();
    }

    fn is_wished(&self, what: &str) -> bool {
        self.0.join(what).exists()
    }

    /// Fulfils a wish, if there is one: only once.
    fn fulfils(&self, what: &str) -> bool {
        fs::remove_file(self.0.join(what)).is_ok()
    }

    /// Makes a child that notes `+a0` and `-a0`, where `a` is its name and 0 the number of its
    /// restarts. It waits until it is cancelled, or its failure is wished for.
    pub fn child(&self, kind: Kind) -> Child {
        let book = self.clone();
        match kind {
            Kind::Coroutine => Child::coroutine(move |context| book.live(context)),
            Kind::Thread => Child::thread(move |context| book.live(context)),
            Kind::Process => Child::process(book, |context, book: Book| book.live(context)),
        }
    }

    fn live(&self, context: &Context) -> Result<(), String> {
        let run = format!("{}{}", context.name(), context.restarts());
        self.note(&format!("+{run}"));
        let _end = End(self, &run);
        while self.is_wished(&format!("slow {run}")) {
            time::sleep(Duration::from_millis(1));
        }
        context.ready();
        loop {
            if self.fulfils(&run) {
                return Err(format!("{run} was to fail"));
            }
            if self.fulfils(&format!("done {run}")) {
                return Ok(());
            }
            time::sleep(Duration::from_millis(1));
        }
    }
}

struct End<'a>(&'a Book, &'a str);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.note(&format!("-{}", self.1));
    }
}

/// Waits until all children run, and have had these restarts.
#[track_caller]
pub fn until_running(supervisor: &Handle, restarts: &[u64]) {
    until(|| {
        let children = supervisor.children();
        children.iter().all(|child| child.state == ChildState::Running)
            && children.iter().map(|child| child.restarts).eq(restarts.iter().copied())
    });
}

/// Returns the state of a child.
pub fn state(supervisor: &Handle, at: usize) -> ChildState {
    supervisor.children()[at].state
}

/// Returns a time that no test waits for.
pub const HOUR: Duration = Duration::from_secs(3600);
