//! Stands in for `src/sys/region.rs`: words at the places that are given, and contents that loom watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use loom::cell::UnsafeCell;

use crate::sys::atomic::{AtomicU32, AtomicU64};
use crate::sys::life;

/// One process's view of the memory of a model.
#[derive(Clone, Debug)]
pub(crate) struct Region(Arc<Memory>);

#[derive(Debug)]
struct Memory {
    words: BTreeMap<usize, AtomicU64>,
    halves: BTreeMap<usize, AtomicU32>,
    contents: BTreeMap<usize, UnsafeCell<[u8; 8]>>,
}

// SAFETY: loom reports any access of the contents that this would make unsound.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Region {
    pub(crate) fn new(words: &[usize], halves: &[usize], contents: &[usize]) -> Region {
        Region(Arc::new(Memory {
            words: words.iter().map(|at| (*at, AtomicU64::new(0))).collect(),
            halves: halves.iter().map(|at| (*at, AtomicU32::new(0))).collect(),
            contents: contents.iter().map(|at| (*at, UnsafeCell::new([0; 8]))).collect(),
        }))
    }

    /// No model reads a header.
    pub(crate) fn len(&self) -> usize {
        0
    }

    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        &self.0.words[&offset]
    }

    pub(crate) fn half(&self, offset: usize) -> &AtomicU32 {
        &self.0.halves[&offset]
    }

    pub(crate) fn low_half(&self, offset: usize) -> &AtomicU64 {
        self.word(offset)
    }

    pub(crate) fn write(&self, offset: usize, bytes: &[u8; 8]) {
        if life::step() {
            // SAFETY: nobody else touches it now, or loom reports it.
            self.0.contents[&offset].with_mut(|place| unsafe { *place = *bytes });
        }
    }

    pub(crate) fn read(&self, offset: usize) -> [u8; 8] {
        if life::step() {
            // SAFETY: as above.
            self.0.contents[&offset].with(|place| unsafe { *place })
        } else {
            [0; 8]
        }
    }

    pub(crate) fn prefetch(&self, _: usize) {}
}
