//! Stands in for `src/sys/memory/shared.rs`: words at given places, and contents that loom watches.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use loom::cell::UnsafeCell;

use crate::sys::atomic::{AtomicU32, AtomicU64};
use crate::sys::{life, page_size};

/// One process's view of the memory of a model.
#[derive(Clone, Debug)]
pub(crate) struct SharedMemory(Arc<Memory>);

/// Every map is by the offset of the first byte.
#[derive(Debug, Default)]
struct Memory {
    /// Words that follow each other.
    words: BTreeMap<usize, Box<[AtomicU64]>>,
    halves: BTreeMap<usize, AtomicU32>,
    contents: BTreeMap<usize, UnsafeCell<[u8; 8]>>,
}

// SAFETY: loom reports any access of the contents that this would make unsound.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

std::thread_local! {
    /// The memory that was made last, for the process that attaches to it. All threads of a model
    /// run on one thread of the system.
    static MADE: RefCell<Option<SharedMemory>> = const { RefCell::new(None) };
}

/// The number of bytes between two words to sleep on in the first page.
const LINE: usize = 128;

fn zeroes(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

impl SharedMemory {
    /// Makes memory with single words, halves and contents at these offsets.
    pub(crate) fn new(words: &[usize], halves: &[usize], contents: &[usize]) -> SharedMemory {
        SharedMemory(Arc::new(Memory {
            words: words.iter().map(|at| (*at, zeroes(1))).collect(),
            halves: halves.iter().map(|at| (*at, AtomicU32::new(0))).collect(),
            contents: contents.iter().map(|at| (*at, UnsafeCell::new([0; 8]))).collect(),
        }))
    }

    /// Makes memory of a page of words to sleep on, then words.
    pub(crate) fn create(_: &CStr, len: usize) -> io::Result<(SharedMemory, OwnedFd)> {
        let halves = (0..page_size()).step_by(LINE).map(|at| (at, AtomicU32::new(0))).collect();
        let words = BTreeMap::from([(page_size(), zeroes((len - page_size()) / 8))]);
        let memory = SharedMemory(Arc::new(Memory { words, halves, ..Memory::default() }));
        MADE.set(Some(memory.clone()));
        Ok((memory, File::open("/dev/null")?.into()))
    }

    pub(crate) fn attach_len(_: impl AsFd, _: usize) -> io::Result<SharedMemory> {
        Ok(MADE.take().expect("it is made before, and attached to once"))
    }

    /// No model reads a header.
    pub(crate) fn len(&self) -> usize {
        0
    }

    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        &self.words(offset, 1)[0]
    }

    pub(crate) fn words(&self, offset: usize, count: usize) -> &[AtomicU64] {
        let (first, words) = self.0.words.range(..=offset).next_back().expect("a word");
        &words[(offset - first) / 8..][..count]
    }

    pub(crate) fn half(&self, offset: usize) -> &AtomicU32 {
        &self.0.halves[&offset]
    }

    pub(crate) fn low_half(&self, offset: usize) -> &AtomicU64 {
        self.word(offset)
    }

    pub(crate) fn write(&self, offset: usize, bytes: &[u8; 8]) {
        if life::step() {
            // SAFETY: no other thread touches it now, or loom reports it.
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
