//! One direction between a master and its worker: a ring of cells in shared memory.
//!
//! ```text
//!   cell, one cache line            a record of three cells
//!   ┌──────┬────────────────────┐   ┌──────┬─────────┐┌──────┬─────────┐┌──────┬─────────┐
//!   │ word │ 56 bytes           │   │ FULL │ bytes   ││ MORE │ bytes   ││ MORE │ bytes   │
//!   └──────┴────────────────────┘   └──────┴─────────┘└──────┴─────────┘└──────┴─────────┘
//! ```
//!
//! There is no index that both sides share: the word of each cell says whose it is, so a small
//! record crosses as one cache line. One side produces, the other consumes; both go around in order.
//!
//! | word | who may touch the cell |
//! |---|---|
//! | `FREE` | the producer, to fill it |
//! | `MORE` | nobody, until the first cell of its record is `FULL` |
//! | `FULL` + length | the consumer; the producer may take the record back |
//! | `TAKEN` | the consumer, who will make all cells of the record `FREE` |
//! | `WITHDRAWN` + length | the consumer, who skips it |
//!
//! `FULL` → `TAKEN` and `FULL` → `WITHDRAWN` are compare-and-swaps on one word, so a record is begun or taken
//! back, never both, and a side that is killed between two steps leaves the word at one of these states.
//!
//! The other side may be mad. All of the memory is read by atomic loads, a length is checked before it is
//! used, and where the words make no sense the reader says [`Broken`]. The words are at places where no
//! bytes of a record ever are, so what a program sends cannot be taken for a word.
//!
//! Ordering: the release of `FULL` publishes the bytes and the words `MORE`, its acquire by the consumer
//! sees them; the release of `FREE` gives the bytes back.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::sys::atomic::AtomicU64;
use crate::sys::memory::shared::SharedMemory;

/// The producer's. What memory is at first.
const FREE: u64 = 0;
/// A later cell of a record.
const MORE: u64 = 1;
/// The first cell of a whole record; its length stands above.
const FULL: u64 = 2;
/// The consumer reads the record.
const TAKEN: u64 = 3;
/// The producer has taken the record back; its length stands above.
const WITHDRAWN: u64 = 4;
/// The bits that hold one of these; above them the length of the record in bytes.
const STATE: u64 = 0xff;
const LENGTH: u32 = 8;

/// Words of a cell.
const CELL: usize = 8;
/// Bytes of a record in one cell.
const ROOM: usize = (CELL - 1) * 8;
/// Cells of a ring: few in the models, which then see it go around.
const CELLS: usize = if cfg!(trine_loom) { 4 } else { 1024 };
/// Bytes that a ring takes.
pub(in crate::process) const BYTES: usize = CELLS * CELL * 8;
/// Longest record: a small part of the ring, so that one record does not hold up the others.
pub(in crate::process) const LONGEST: usize = if cfg!(trine_loom) { 2 } else { CELLS / 8 } * ROOM;

/// Most steps on the way to the next record. A producer that withdraws faster than its records are skipped is mad, and
/// would keep the consumer for ever.
const STEPS: usize = 64 * CELLS;

/// What the other side has written makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::process) struct Broken;

/// The cells, as both sides see them.
#[derive(Debug)]
struct Cells {
    memory: Arc<SharedMemory>,
    /// Where in the memory the ring begins.
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
    /// The next cell; counts on over the end of the ring.
    next: u64,
}

/// The side that empties cells.
#[derive(Debug)]
pub(in crate::process) struct Consumer {
    cells: Cells,
    next: u64,
}

impl Producer {
    pub(in crate::process) fn new(memory: Arc<SharedMemory>, offset: usize) -> Producer {
        Producer { cells: Cells { memory, offset }, next: 0 }
    }

    /// Writes a record, which is `head` and `body` one behind the other, and says where; `None` if there is no room.
    #[must_use = "where there is no room nothing is sent"]
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

    /// Takes a record back that stands at `position`; `false` if the consumer has begun it.
    pub(in crate::process) fn withdraw(&self, position: u64) -> bool {
        if self.is_reused(position) {
            return false;
        }
        let state = self.cells.state(position);
        let full = state.load(Relaxed);
        let withdrawn = full & !STATE | WITHDRAWN;
        full & STATE == FULL && state.compare_exchange(full, withdrawn, AcqRel, Relaxed).is_ok()
    }

    /// Whether the consumer has let go of the record that stands, or stood, at `position`.
    pub(in crate::process) fn is_consumed(&self, position: u64) -> bool {
        self.is_reused(position) || self.cells.state(position).load(Relaxed) == FREE
    }

    /// Whether another record stands there by now.
    fn is_reused(&self, position: u64) -> bool {
        self.next > position + CELLS as u64
    }
}

impl Consumer {
    pub(in crate::process) fn new(memory: Arc<SharedMemory>, offset: usize) -> Consumer {
        Consumer { cells: Cells { memory, offset }, next: 0 }
    }

    /// Whether there is something to take; cheap enough to be asked again and again.
    #[inline]
    pub(in crate::process) fn is_ready(&self) -> bool {
        self.cells.state(self.next).load(Relaxed) & STATE > MORE
    }

    /// Moves the next record's bytes behind those in `into`; `false` if there is none.
    pub(in crate::process) fn take(&mut self, into: &mut Vec<u8>) -> Result<bool, Broken> {
        for _ in 0..STEPS {
            let state = self.cells.state(self.next);
            let word = state.load(Acquire);
            let len = (word >> LENGTH) as usize;
            match word & STATE {
                FREE if word == FREE => return Ok(false),
                FULL | WITHDRAWN if len > LONGEST => return Err(Broken),
                FULL => {
                    let taken = word & !STATE | TAKEN;
                    if state.compare_exchange(word, taken, AcqRel, Relaxed).is_err() {
                        // Withdrawn meanwhile.
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
        // The first cell last: a producer that finds it free finds all of them free.
        for at in (self.next..end).rev() {
            self.cells.state(at).store(FREE, Release);
        }
        crash_point!("ring: record read and freed");
        self.next = end;
    }
}

/// Two pieces, one behind the other.
struct Bytes<'a> {
    head: &'a [u8],
    body: &'a [u8],
}

impl Bytes<'_> {
    /// Moves what comes next into a cell, whose rest stays zero; how many bytes, up to a whole word.
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
            assert!(!producer.withdraw(positions[n]), "it was begun");
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
    fn words_that_make_no_sense_are_told_whatever_they_are() {
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
