//! Stands in for `src/sys/region.rs`: words at the places that are given, and contents that loom watches.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use loom::cell::UnsafeCell;

use super::atomic::{AtomicU32, AtomicU64};
use super::futex::{self, Word};
use super::{life, time};

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

/// Who has which number. The kernel takes it back after a death.
#[derive(Debug)]
pub(crate) struct Presence {
    table: Table,
    number: u32,
}

/// Of each number, whether somebody has it.
pub(crate) type Table = Arc<[loom::sync::atomic::AtomicU32]>;

pub(crate) fn table(numbers: usize) -> Table {
    (0..numbers).map(|_| loom::sync::atomic::AtomicU32::new(0)).collect()
}

impl Presence {
    /// Takes a number, if it is free.
    pub(crate) fn new(table: &Table, number: u32) -> Option<Presence> {
        let taken = table[number as usize].compare_exchange(0, 1, AcqRel, Acquire);
        taken.ok().map(|_| Presence { table: Arc::clone(table), number })
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn is_there(&self, number: u32) -> bool {
        !life::step() || self.table[number as usize].fetch_add(0, AcqRel) != 0
    }

    /// The process has ended.
    pub(crate) fn end(table: &Table, number: u32) {
        table[number as usize].swap(0, Release);
        time::change();
    }
}

std::thread_local! {
    /// The bell of a model. All threads of a model run on one thread of the system.
    static BELL: RefCell<Option<Arc<AtomicU32>>> = const { RefCell::new(None) };
}

fn the_bell() -> Arc<AtomicU32> {
    BELL.with_borrow(|bell| Arc::clone(bell.as_ref().expect("the model has one")))
}

/// Makes the bell, before the model starts its threads.
pub(crate) fn hang_bell() {
    BELL.set(Some(Arc::new(AtomicU32::new(0))));
}

/// Forgets it, before the model ends.
pub(crate) fn take_bell_down() {
    BELL.take();
}

pub(crate) fn ring(_: impl AsFd) {
    if life::step() {
        let bell = the_bell();
        bell.count();
        bell.bed().wake(usize::MAX);
    }
}

/// How often the bell has rung.
pub(crate) fn rung() -> u32 {
    the_bell().value()
}

/// Sleeps until the bell has rung more often. May return early.
pub(crate) fn hear(rung: u32) {
    futex::wait(&*the_bell(), rung);
}
