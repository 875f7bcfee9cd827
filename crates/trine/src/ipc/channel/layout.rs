//! The memory of a channel: offsets, words and their meanings.
//!
//! ```text
//!   0        header: magic, capacity, longest message, fingerprint of the type; written once
//!   128      tail: the next position to be written, or an earlier one
//!   256      head: the next position to be read, or an earlier one
//!   384      receivers: which kinds sleep, the word that they sleep on
//!   512      senders: likewise
//!   640      departures, numbers used so far, attachments so far
//!   768      the block at which to look for a free one, a hint
//!   1024     slots, 128 bytes each:   word │ block, length │ 112 bytes of a short message
//!   …        a word for each block, 128 bytes apart
//!   …        blocks, one for each longer message:   padding │ message
//! ```
//!
//! A *position* counts messages: a lap and a slot's index. A slot's word alone determines its
//! state. Head and tail are hints; a process that finds one out of date advances it.
//!
//! ```text
//!   slot's word:   │ lap, 42 bits │ owner, 12 bits │ state, 8 bits │
//!
//!   FREE(lap) ──► WRITING(lap, owner) ──► FULL(lap) ──► READING(lap, owner) ──► EMPTIED(lap)
//!                      │                                     │                = FREE(lap + 1)
//!                      └─ owner has died ─► FREE(lap + 1) ◄──┘ owner has died
//!
//!   block's word:
//!
//!   FREE ──► HELD(attachment, owner) ──► IN_SLOT(position) ──► HELD(attachment, owner) ──► FREE
//!      a block of a dead owner, and one whose position has been passed, can be taken as if FREE
//! ```
//!
//! Each arrow is one atomic step. So a process that is killed at any instruction leaves one of
//! these states.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::sys::memory::shared::SharedMemory;

/// First word of every channel's memory. The last byte is the version of this layout.
const MAGIC: u64 = u64::from_le_bytes(*b"trine/c\x02");
const MAGIC_OF_ALL: u64 = u64::MAX >> 8;

const CAPACITY: usize = 8;
const MAX_MESSAGE: usize = 16;
const FINGERPRINT: usize = 24;
pub(super) const TAIL: usize = 128;
pub(super) const HEAD: usize = 256;
/// Two words of each side: the kinds of waiters that sleep, and the word that threads sleep on.
pub(super) const RECEIVERS: usize = 384;
pub(super) const SENDERS: usize = 512;
/// Counts how often a process has closed its last end of a side.
pub(super) const DEPARTURES: usize = 640;
/// All numbers below this one have been in use.
pub(super) const NUMBERS: usize = 648;
/// Counts the attachments so far.
pub(super) const ATTACHMENTS: usize = 656;
/// Hint to a free block.
pub(super) const NEXT_BLOCK: usize = 768;
const SLOTS: usize = 1024;
const SLOT: usize = 128;
/// Longest message that is stored in its slot.
pub(super) const INLINE: usize = SLOT - 16;
/// Distance between the words of two blocks: changing one invalidates no cache line of another.
const BLOCK_WORD: usize = 128;
/// Alignment of a long string of bytes within a cache line: the same as on the heap, behind the
/// allocator's header of 16 bytes. Copies between different alignments are slower. On some
/// processors (Zen) a copy is several times slower if its target lies a little further behind the
/// beginning of a page than its source.
const START: usize = 16;
const ALIGNMENT: usize = 64;

/// Returns the padding at the beginning of a block for a message whose long string comes behind
/// `len` other bytes.
pub(super) fn padding(len: usize) -> usize {
    (START + ALIGNMENT - len % ALIGNMENT) % ALIGNMENT
}
/// Blocks for messages that are being written or read, beside those that belong to slots.
const SPARE_BLOCKS: usize = 8;

/// Limit of the processes that are attached at a time.
pub(super) const MAX_ATTACHED: u32 = 1 << 12;
/// Limit of the messages in a channel.
pub(super) const MAX_SLOTS: usize = 1 << 20;

const INDEX_BITS: u32 = 20;
const LAP_BITS: u32 = 42;

/// A place in the order of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(pub(super) u64);

impl Position {
    #[inline]
    pub(super) fn index(self) -> usize {
        (self.0 & ((1 << INDEX_BITS) - 1)) as usize
    }

    #[inline]
    pub(super) fn lap(self) -> u64 {
        self.0 >> INDEX_BITS
    }

    /// Returns true if a channel of this capacity has this position.
    #[inline]
    pub(super) fn is_valid(self, capacity: usize) -> bool {
        self.index() < capacity && self.lap() >> LAP_BITS == 0
    }
}

/// Returns how many laps `a` is ahead of `b`; laps wrap around.
#[inline]
pub(super) fn laps_ahead(a: u64, b: u64) -> i64 {
    (a.wrapping_sub(b) << (64 - LAP_BITS)).cast_signed() >> (64 - LAP_BITS)
}

/// The state of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Empty; the sender at this position may claim it.
    Free,
    /// Its owner, a sender, is writing a message.
    Writing,
    /// Holds a message.
    Full,
    /// Its owner, a receiver, is taking the message out.
    Reading,
    /// Only in a word: means `Free` of the next lap, but differs from `Reading` only in its lowest
    /// bits, so one atomic operation of the kernel can make the change.
    Emptied,
}

/// The word of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

impl Word {
    #[inline]
    pub(super) fn new(state: State, owner: u32, lap: u64) -> Word {
        Word((lap << (64 - LAP_BITS)) | (u64::from(owner) << 8) | state as u64)
    }

    #[inline]
    pub(super) fn lap(self) -> u64 {
        let emptied = self.0 as u8 == State::Emptied as u8;
        (self.0 >> (64 - LAP_BITS)).wrapping_add(emptied.into())
    }

    #[inline]
    pub(super) fn owner(self) -> u32 {
        (self.0 >> 8) as u32 & (MAX_ATTACHED - 1)
    }

    /// Returns the state; `None` if the word is corrupted.
    #[inline]
    pub(super) fn state(self) -> Option<State> {
        Some(match self.0 as u8 {
            0 => State::Free,
            1 => State::Writing,
            2 => State::Full,
            3 => State::Reading,
            4 => State::Free,
            _ => return None,
        })
    }

    /// Returns the word of the same slot once its content is done with.
    #[inline]
    pub(super) fn freed(self) -> Word {
        Word::new(State::Free, 0, self.lap().wrapping_add(1))
    }
}

/// A slot's description of its message, in one word:
///
/// ```text
///   │ block's padding, 8 bits │ block's number + 1, 24 bits │ length, 32 bits │
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MessageHeader {
    /// Length in bytes.
    pub(super) len: usize,
    /// Index of the block that holds the message, and the padding before it; `None` if the slot
    /// itself holds it.
    pub(super) block: Option<(usize, usize)>,
}

impl MessageHeader {
    #[inline]
    pub(super) fn to_word(self) -> u64 {
        let (number, padding) = self.block.map_or((0, 0), |(block, padding)| (block + 1, padding));
        ((padding as u64) << 56) | ((number as u64) << 32) | self.len as u64
    }

    #[inline]
    pub(super) fn from_word(word: u64) -> MessageHeader {
        let (padding, number) = ((word >> 56) as usize, (word >> 32) as usize & ((1 << 24) - 1));
        let block = number.checked_sub(1).map(|block| (block, padding));
        MessageHeader { len: word as u32 as usize, block }
    }
}

/// The layout of one channel's memory. It is a private copy, so that no other process can change
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Number of slots.
    pub(super) capacity: usize,
    /// Size limit of a message in bytes.
    pub(super) max_message: usize,
    /// Number of blocks.
    pub(super) blocks: usize,
    block_words: usize,
    block_area: usize,
    block_stride: usize,
    /// Total length in bytes.
    pub(super) len: usize,
}

/// The reason why memory is not that of a channel of this type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// It was never a channel's.
    Memory,
    /// It has another layout.
    Build,
    /// It carries messages of another type.
    Type,
}

impl Layout {
    /// Returns `None` if no address space can hold it.
    pub(super) fn new(capacity: usize, max_message: usize) -> Option<Layout> {
        let blocks = if max_message <= INLINE { 0 } else { capacity.checked_add(SPARE_BLOCKS)? };
        let round = |bytes: usize, to: usize| bytes.checked_next_multiple_of(to);
        let block_stride = round(
            max_message.checked_add(ALIGNMENT - 1)?,
            if max_message < 4096 { ALIGNMENT } else { 4096 },
        )?;
        let block_words = SLOTS.checked_add(capacity.checked_mul(SLOT)?)?;
        let block_area = round(block_words.checked_add(blocks.checked_mul(BLOCK_WORD)?)?, 4096)?;
        let len = block_area.checked_add(blocks.checked_mul(block_stride)?)?;
        isize::try_from(len).ok()?;
        u32::try_from(max_message).ok()?;
        Some(Layout { capacity, max_message, blocks, block_words, block_area, block_stride, len })
    }

    /// Writes the header into fresh memory.
    pub(super) fn write(&self, region: &SharedMemory, fingerprint: u64) {
        region.word(CAPACITY).store(self.capacity as u64, Relaxed);
        region.word(MAX_MESSAGE).store(self.max_message as u64, Relaxed);
        region.word(FINGERPRINT).store(fingerprint, Relaxed);
        region.word(0).store(MAGIC, Release);
    }

    /// Reads the header once, and accepts it if the memory has exactly the length that follows from
    /// it.
    pub(super) fn read(region: &SharedMemory, fingerprint: u64) -> Result<Layout, Mismatch> {
        if region.len() < SLOTS {
            return Err(Mismatch::Memory);
        }
        let word = |offset| region.word(offset).load(Acquire);
        match word(0) {
            MAGIC => {}
            other if other & MAGIC_OF_ALL == MAGIC & MAGIC_OF_ALL => return Err(Mismatch::Build),
            _ => return Err(Mismatch::Memory),
        }
        let number = |offset| usize::try_from(word(offset)).ok();
        let layout = number(CAPACITY)
            .filter(|capacity| (1..=MAX_SLOTS).contains(capacity))
            .and_then(|capacity| Layout::new(capacity, number(MAX_MESSAGE)?))
            .filter(|layout| layout.len == region.len())
            .ok_or(Mismatch::Memory)?;
        match word(FINGERPRINT) == fingerprint {
            true => Ok(layout),
            false => Err(Mismatch::Type),
        }
    }

    #[inline]
    pub(super) fn slot(&self, index: usize) -> usize {
        SLOTS + index * SLOT
    }

    #[inline]
    pub(super) fn block_word(&self, block: usize) -> usize {
        self.block_words + block * BLOCK_WORD
    }

    #[inline]
    pub(super) fn block(&self, block: usize) -> usize {
        self.block_area + block * self.block_stride
    }

    /// Returns true if the message fits into the place that its header names.
    #[inline]
    pub(super) fn holds(&self, message: &MessageHeader) -> bool {
        match message.block {
            None => message.len <= INLINE,
            Some((block, padding)) => {
                message.len <= self.max_message && block < self.blocks && padding < ALIGNMENT
            }
        }
    }

    #[inline]
    pub(super) fn next(&self, position: Position) -> Position {
        match position.index() + 1 {
            end if end >= self.capacity => {
                let lap = position.lap().wrapping_add(1) & ((1 << LAP_BITS) - 1);
                Position(lap << INDEX_BITS)
            }
            _ => Position(position.0 + 1),
        }
    }

    /// Returns the number of positions between both.
    pub(super) fn distance(&self, from: Position, to: Position) -> usize {
        let laps = laps_ahead(to.lap(), from.lap());
        let indices = to.index() as i64 - from.index() as i64;
        let distance = laps.saturating_mul(self.capacity as i64).saturating_add(indices);
        usize::try_from(distance).unwrap_or(0).min(self.capacity)
    }
}

#[cfg(all(test, not(trine_loom)))]
mod tests {
    use super::*;

    #[test]
    fn positions_count_through_laps_and_around_their_end() {
        let layout = Layout::new(3, 1000).unwrap();
        let mut position = Position(0);
        for n in 0..7 {
            assert_eq!((position.lap(), position.index()), (n / 3, n as usize % 3));
            position = layout.next(position);
        }
        assert_eq!(layout.distance(Position(0), Position(2)), 2);
        let last = Position(((1 << LAP_BITS) - 1) << INDEX_BITS | 2);
        let first = layout.next(last);
        assert!(last.is_valid(3) && !last.is_valid(2) && first.is_valid(3));
        assert_eq!(first, Position(0));
        assert_eq!(laps_ahead(first.lap(), last.lap()), 1);
        assert_eq!(layout.distance(last, first), 1);
        let word = Word::new(State::Reading, 4095, last.lap());
        assert_eq!((word.lap(), word.owner()), (last.lap(), 4095));
        assert_eq!((word.state(), word.freed()), (Some(State::Reading), Word(0)));
        let emptied = Word::new(State::Emptied, 9, 6);
        assert_eq!((emptied.state(), emptied.lap()), (Some(State::Free), 7));
    }

    #[test]
    fn sizes_that_no_memory_has_are_refused() {
        assert!(Layout::new(MAX_SLOTS, u32::MAX as usize).is_some());
        assert!(Layout::new(1, u32::MAX as usize + 1).is_none());
        assert!(Layout::new(1, usize::MAX).is_none());
        assert_eq!(Layout::new(5, INLINE).unwrap().blocks, 0);
    }

    #[test]
    fn what_a_slot_says_is_read_as_it_was_said_and_has_room() {
        let layout = Layout::new(MAX_SLOTS, 5000).unwrap();
        let last = layout.blocks - 1;
        for len in 0..300 {
            assert_eq!((len + padding(len)) % ALIGNMENT, START);
            for block in [None, Some((0, padding(len))), Some((last, padding(len)))] {
                let message = MessageHeader { len, block };
                assert_eq!(MessageHeader::from_word(message.to_word()), message);
                assert_eq!(layout.holds(&message), block.is_some() || len <= INLINE);
            }
        }
        let end = layout.block(last) + padding(0) + 5000;
        assert!(end <= layout.len && layout.block(last) + ALIGNMENT - 1 + 5000 <= layout.len);
        let at = |len, block| layout.holds(&MessageHeader { len, block: Some(block) });
        assert!(at(5000, (last, 63)));
        assert!(!at(5001, (last, 0)) && !at(5000, (last + 1, 0)) && !at(1, (0, 64)));
    }
}
