//! Stands in for `src/sys/semaphore.rs`.

use super::atomic::AtomicU64;
use super::futex::{Bed, Word};

/// One semaphore that all threads of a model share.
#[derive(Debug)]
pub(crate) struct Memory {
    word: AtomicU64,
    bed: Bed,
}

impl Memory {
    pub(crate) fn new(permits: u32) -> Memory {
        Memory { word: AtomicU64::new(permits.into()), bed: Bed::default() }
    }

    pub(crate) fn word(&self) -> &AtomicU64 {
        &self.word
    }

    pub(crate) fn futex(&self) -> &Memory {
        self
    }
}

impl Word for Memory {
    fn value(&self) -> u32 {
        self.word.look() as u32
    }

    fn bed(&self) -> &Bed {
        &self.bed
    }
}
