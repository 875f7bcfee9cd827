//! Stands in for `src/sys/presence.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use loom::sync::atomic::AtomicU32;

use super::{life, time};

/// A thread's number. The kernel releases it after a death.
#[derive(Debug)]
pub(crate) struct Presence {
    table: Table,
    number: u32,
}

/// For each number, 1 if a thread has it.
pub(crate) type Table = Arc<[AtomicU32]>;

pub(crate) fn table(numbers: usize) -> Table {
    (0..numbers).map(|_| AtomicU32::new(0)).collect()
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

    /// Releases the number of a process that has ended.
    pub(crate) fn end(table: &Table, number: u32) {
        table[number as usize].swap(0, Release);
        time::change();
    }
}
