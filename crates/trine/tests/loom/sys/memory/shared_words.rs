//! Stands in for `src/sys/shared.rs`.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::sys::atomic::{AtomicU32, AtomicU64};
use crate::sys::page_size;

/// Memory that all threads of a model see: a page of words to sleep on, then words.
#[derive(Debug)]
pub(crate) struct Shared(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    halves: Vec<AtomicU32>,
    words: Vec<AtomicU64>,
}

std::thread_local! {
    /// What was made last, for the one who attaches to it. All threads of a model run on one thread of the system.
    static MADE: RefCell<Option<Arc<Memory>>> = const { RefCell::new(None) };
}

/// Bytes between two words to sleep on.
const LINE: usize = 128;

impl Shared {
    pub(crate) fn create(len: usize) -> io::Result<(Shared, OwnedFd)> {
        let memory = Arc::new(Memory {
            halves: (0..page_size() / LINE).map(|_| AtomicU32::new(0)).collect(),
            words: (page_size()..len).step_by(8).map(|_| AtomicU64::new(0)).collect(),
        });
        MADE.set(Some(Arc::clone(&memory)));
        Ok((Shared(memory), File::open("/dev/null")?.into()))
    }

    pub(crate) fn attach(_: impl AsFd, _: usize) -> io::Result<Shared> {
        Ok(Shared(MADE.take().expect("it is made before, and attached to once")))
    }

    pub(crate) fn words(&self, offset: usize, count: usize) -> &[AtomicU64] {
        &self.0.words[(offset - page_size()) / 8..][..count]
    }

    pub(crate) fn half(&self, offset: usize) -> &AtomicU32 {
        &self.0.halves[offset / LINE]
    }
}
