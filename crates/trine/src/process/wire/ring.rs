//! One direction between a master and its worker: a ring of cells in shared memory.
//!
//! ```text
//!   cell, one cache line            a record of three cells
//!   ┌──────┬────────────────────┐   ┌──────┬─────────┐┌──────┬─────────┐┌──────┬─────────┐
//!   │ word │ 56 bytes           │   │ FULL │ bytes   ││ MORE │ bytes   ││ MORE │ bytes   │
//!   └──────┴────────────────────┘   └──────┴─────────┘└──────┴─────────┘└──────┴─────────┘
//! ```
//!
//! The two sides share no index: the word of each cell says which side owns it, so a small record
//! crosses as one cache line. One side produces, the other consumes; both go around in order.
//!
//! | word | side that may touch the cell |
//! |---|---|
//! | `FREE` | the producer, to fill it |
//! | `MORE` | neither, until the first cell of its record is `FULL` |
//! | `FULL` + length | the consumer; the producer may withdraw the record |
//! | `TAKEN` | the consumer, which will make all cells of the record `FREE` |
//! | `WITHDRAWN` + length | the consumer, which skips it |
//!
//! `FULL` → `TAKEN` and `FULL` → `WITHDRAWN` are compare-and-swaps on one word, so a record is
//! either taken or withdrawn, never both. A side that is killed between two steps leaves the word
//! in one of these states.
//!
//! The other side is untrusted: a task may have corrupted its memory. All of the memory is read by
//! atomic loads, a length is checked before it is used, and invalid words make the reader return
//! [`Broken`]. Words and bytes never share an address, so no bytes that a program sends are read as
//! a word.
//!
//! Ordering: the release of `FULL` publishes the bytes and the words `MORE`, and its acquire by the
//! consumer sees them. The release of `FREE` gives the bytes back.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::sys::atomic::AtomicU64;
use crate::sys::memory::shared::SharedMemory;

/// The producer owns the cell. The initial state of the memory.
const FREE: u64 = 0;
/// A later cell of a record.
const MORE: u64 = 1;
/// The first cell of a whole record; the bits above hold the record's length.
const FULL: u64 = 2;
/// The consumer is reading the record.
const TAKEN: u64 = 3;
/// The producer has withdrawn the record; the bits above hold the record's length.
const WITHDRAWN: u64 = 4;
/// Mask of the bits that hold one of these states.
const STATE: u64 = 0xff;
/// Shift of the record's length, in bytes, above the state.
const LENGTH: u32 = 8;

/// Words of a cell.
const CELL: usize = 8;
/// Bytes of a record in one cell.
const ROOM: usize = (CELL - 1) * 8;
/// Cells of a ring. In loom's models there are few, so that a model goes around the ring.
pub(in crate::process) const CELLS: usize = if cfg!(trine_loom) { 4 } else { 1024 };
/// Bytes of a ring.
pub(in crate::process) const BYTES: usize = CELLS * CELL * 8;
/// Longest record: a small part of the ring, so that one record does not hold up the others.
pub(in crate::process) const LONGEST: usize = if cfg!(trine_loom) { 2 } else { CELLS / 8 } * ROOM;

/// Most steps of a worker on the way to its next task. Only a hostile producer withdraws records
/// faster than the consumer skips them; without a limit it would keep the consumer busy forever.
const STEPS: usize = 64 * CELLS;

/// The other side has corrupted the ring.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::process) struct Broken;

/// The cells, as both sides see them.
#[derive(Debug)]
struct Cells {
    memory: Arc<SharedMemory>,
    /// Offset of the ring in the memory, in bytes.
    offset: usize,
}

impl Cells {
    fn words(&self) -> &[AtomicU64] {
        self.memory.words(self.offset, CELLS * CELL)
    }

    fn state(&self, position: u64) -> &AtomicU64 {
        &self.words()[index(position)]
    }

    fn body(&self, position: u64) -> &[AtomicU64] {
        let index = index(position);
        &self.words()[index + 1..index + CELL]
    }
}

fn index(position: u64) -> usize {
    (position % CELLS as u64) as usize * CELL
}

fn cells_of(len: usize) -> u64 {
    len.div_ceil(ROOM).max(1) as u64
}

/// The side that fills cells.
#[derive(Debug)]
pub(in crate::process) struct Producer {
    cells: Cells,
    /// Position of the next cell; counts on past the end of the ring.
    next: u64,
}

/// The side that empties cells.
#[derive(Debug)]
pub(in crate::process) struct Consumer {
    cells: Cells,
    next: u64,
    /// The most steps on the way to the next record.
    steps: usize,
}

impl Producer {
    pub(in crate::process) fn new(memory: Arc<SharedMemory>, offset: usize) -> Producer {
        Producer { cells: Cells { memory, offset }, next: 0 }
    }

    /// Writes a record of `head` followed by `body`, and returns its position; `None` if there is
    /// no room.
    #[must_use = "without room nothing is sent"]
    pub(in crate::process) fn push(&mut self, head: &[u8], body: &[u8]) -> Option<u64> {
        let len = head.len() + body.len();
        if len > LONGEST {
            return None;
        }
        let (first, count) = (self.next, cells_of(len));
        if (first..first + count).any(|at| self.cells.state(at).load(Acquire) != FREE) {
            return None;
        }
        let mut bytes = Bytes { head, body };
        for at in first..first + count {
            let mut cell = [0; ROOM];
            let filled = bytes.fill(&mut cell);
            for (word, piece) in self.cells.body(at).iter().zip(cell[..filled].chunks_exact(8)) {
                word.store(u64_of(piece), Relaxed);
            }
            if at > first {
                self.cells.state(at).store(MORE, Relaxed);
            }
        }
        crash_point!("ring: bytes written, no record yet");
        self.cells.state(first).store(FULL | (len as u64) << LENGTH, Release);
        self.next = first + count;
        crash_point!("ring: record there");
        Some(first)
    }

    /// Withdraws the record at `position`; returns false if the consumer has taken it.
    pub(in crate::process) fn withdraw(&self, position: u64) -> bool {
        if self.is_reused(position) {
            return false;
        }
        let state = self.cells.state(position);
        let full = state.load(Relaxed);
        let withdrawn = full & !STATE | WITHDRAWN;
        full & STATE == FULL && state.compare_exchange(full, withdrawn, AcqRel, Relaxed).is_ok()
    }

    /// Returns true if the consumer has freed the record that was pushed at `position`.
    pub(in crate::process) fn is_consumed(&self, position: u64) -> bool {
        self.is_reused(position) || self.cells.state(position).load(Relaxed) == FREE
    }

    /// Returns true if another record has replaced the one at `position`.
    fn is_reused(&self, position: u64) -> bool {
        self.next > position + CELLS as u64
    }
}

impl Consumer {
    pub(in crate::process) fn new(memory: Arc<SharedMemory>, offset: usize) -> Consumer {
        Consumer { cells: Cells { memory, offset }, next: 0, steps: STEPS }
    }

    /// Makes the consumer of a producer that withdraws nothing: a withdrawn record is corrupted.
    pub(in crate::process) fn of_answers(memory: Arc<SharedMemory>, offset: usize) -> Consumer {
        Consumer { steps: 1, ..Consumer::new(memory, offset) }
    }

    /// Returns true if there is a record to take. Cheap enough for a spin.
    #[inline]
    pub(in crate::process) fn is_ready(&self) -> bool {
        self.cells.state(self.next).load(Relaxed) & STATE > MORE
    }

    /// Appends the next record's bytes to `into`; returns false if there is no record.
    ///
    /// # Errors
    ///
    /// The words of the ring are invalid.
    pub(in crate::process) fn take(&mut self, into: &mut Vec<u8>) -> Result<bool, Broken> {
        for _ in 0..self.steps {
            let state = self.cells.state(self.next);
            let word = state.load(Acquire);
            let len = (word >> LENGTH) as usize;
            match word & STATE {
                FREE if word == FREE => return Ok(false),
                FULL | WITHDRAWN if len > LONGEST => return Err(Broken),
                FULL => {
                    let taken = word & !STATE | TAKEN;
                    if state.compare_exchange(word, taken, AcqRel, Relaxed).is_err() {
                        // Withdrawn since the load.
                        continue;
                    }
                    crash_point!("ring: record taken, not read");
                    self.read(len, into);
                    crash_point!("ring: record read, not freed");
                    self.free(len);
                    return Ok(true);
                }
                WITHDRAWN => self.free(len),
                _ => return Err(Broken),
            }
        }
        Err(Broken)
    }

    fn read(&self, len: usize, into: &mut Vec<u8>) {
        into.reserve(len);
        let mut left = len;
        for at in self.next..self.next + cells_of(len) {
            let (mut cell, count) = ([0; ROOM], left.min(ROOM));
            let words = self.cells.body(at).iter().take(count.div_ceil(8));
            for (piece, word) in cell.chunks_exact_mut(8).zip(words) {
                piece.copy_from_slice(&word.load(Relaxed).to_le_bytes());
            }
            into.extend_from_slice(&cell[..count]);
            left -= count;
        }
    }

    fn free(&mut self, len: usize) {
        let end = self.next + cells_of(len);
        // The first cell last: if the producer finds it free, all of them are.
        for at in (self.next..end).rev() {
            self.cells.state(at).store(FREE, Release);
        }
        crash_point!("ring: record read and freed");
        self.next = end;
    }
}

/// The bytes of a record that are still to be written: `head`, then `body`.
struct Bytes<'a> {
    head: &'a [u8],
    body: &'a [u8],
}

impl Bytes<'_> {
    /// Moves the next bytes into a cell; returns their number, rounded up to whole words. The rest
    /// of the cell stays zero.
    #[inline]
    fn fill(&mut self, cell: &mut [u8; ROOM]) -> usize {
        let mut filled = 0;
        for piece in [&mut self.head, &mut self.body] {
            let count = piece.len().min(ROOM - filled);
            let (now, later) = piece.split_at(count);
            cell[filled..filled + count].copy_from_slice(now);
            *piece = later;
            filled += count;
        }
        filled.next_multiple_of(8)
    }
}

fn u64_of(piece: &[u8]) -> u64 {
    u64::from_le_bytes(piece.try_into().expect("a cell is of whole words"))
}

#[cfg(all(test, not(trine_loom)))]
mod tests {
    use super::*;

    fn ring() -> (Producer, Consumer, Arc<SharedMemory>) {
        let memory = Arc::new(SharedMemory::create(c"trine", BYTES).unwrap().0);
        let producer = Producer::new(Arc::clone(&memory), 0);
        (producer, Consumer::new(Arc::clone(&memory), 0), memory)
    }

    fn taken(consumer: &mut Consumer) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        consumer.take(&mut bytes).unwrap().then_some(bytes)
    }

    #[test]
    fn records_of_all_lengths_come_out_as_they_went_in() {
        let (mut producer, mut consumer, _) = ring();
        for len in (0..300).chain([LONGEST - 1, LONGEST]).chain((0..2000).map(|n| n * 7 % 997)) {
            let bytes: Vec<u8> = (0..len).map(|n| (n * 31 + len) as u8).collect();
            let (head, body) = bytes.split_at(len / 3);
            let position = producer.push(head, body).unwrap();
            assert!(consumer.is_ready() && !producer.is_consumed(position));
            assert_eq!(taken(&mut consumer), Some(bytes));
            assert!(!consumer.is_ready() && producer.is_consumed(position));
            assert_eq!(taken(&mut consumer), None);
        }
        assert_eq!(producer.push(&[0; LONGEST], &[0]), None);
    }

    #[test]
    fn a_full_ring_refuses_and_a_withdrawn_record_is_skipped() {
        let (mut producer, mut consumer, _) = ring();
        let mut positions = Vec::new();
        while let Some(position) = producer.push(&[positions.len() as u8], &[1; 100]) {
            positions.push(position);
        }
        assert_eq!(positions.len(), CELLS / 2);
        for position in positions.iter().step_by(2) {
            assert!(producer.withdraw(*position) && !producer.withdraw(*position));
        }
        for n in (1..positions.len()).step_by(2) {
            assert_eq!(taken(&mut consumer).unwrap()[0], n as u8);
            assert!(!producer.withdraw(positions[n]), "it was taken");
        }
        assert_eq!(taken(&mut consumer), None);
        assert!(producer.push(&[1], &[]).is_some());
    }

    #[test]
    fn each_record_is_taken_or_withdrawn_never_both() {
        let (mut producer, mut consumer, _) = ring();
        const ALL: u64 = 40_000;
        let (kept, taken) = std::thread::scope(|scope| {
            let consumer = scope.spawn(move || {
                let (mut all, mut bytes) = (Vec::new(), Vec::new());
                while all.last() != Some(&u64::MAX) {
                    bytes.clear();
                    if consumer.take(&mut bytes).unwrap() {
                        all.push(u64::from_le_bytes(bytes[..8].try_into().unwrap()));
                    } else {
                        std::thread::yield_now();
                    }
                }
                all
            });
            let mut kept = Vec::new();
            for n in (0..ALL).chain([u64::MAX]) {
                let position = loop {
                    match producer.push(&n.to_le_bytes(), &[7; 70]) {
                        Some(position) => break position,
                        None => std::thread::yield_now(),
                    }
                };
                if n % 2 == 0 || n == u64::MAX || !producer.withdraw(position) {
                    kept.push(n);
                }
            }
            (kept, consumer.join().unwrap())
        });
        assert_eq!(kept, taken);
    }

    #[test]
    fn an_answer_that_is_withdrawn_is_refused() {
        let (mut producer, _, memory) = ring();
        let mut consumer = Consumer::of_answers(memory, 0);
        let position = producer.push(&[1], &[]).unwrap();
        producer.push(&[2], &[]).unwrap();
        assert!(producer.withdraw(position));
        assert_eq!(consumer.take(&mut Vec::new()), Err(Broken));
    }

    #[test]
    fn invalid_words_are_refused_whatever_they_are() {
        let mut seed = 88172645463325252_u64;
        for _ in 0..3000 {
            let (mut producer, mut consumer, memory) = ring();
            for _ in 0..40 {
                _ = producer.push(&[1, 2, 3], &[4; 90]);
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let word = memory.word((seed >> 20) as usize % (80 * CELL) * 8);
                word.store(if seed.is_multiple_of(3) { seed % 600 } else { seed }, Relaxed);
                let mut bytes = Vec::new();
                if consumer.take(&mut bytes).is_err() {
                    break;
                }
                assert!(bytes.len() <= LONGEST);
                producer.withdraw(seed % 50);
            }
        }
    }
}
