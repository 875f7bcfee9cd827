//! Memory for messages that are too long for a slot.
//!
//! A process owns a block while it writes or reads it; in between, the block belongs to a position
//! of the queue. A block can be reclaimed in both states: when its process has died, or its
//! position has been passed. So no block is ever lost.

use std::mem;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::layout::{MAX_ATTACHED, NEXT_BLOCK, Position, State, Word, laps_ahead};
use super::ring::{Ring, Side};
use crate::sys::atomic::AtomicU64;

/// The block is free. This is the whole word; the constants below are its two lowest bits.
const FREE: u64 = 0;
/// A process uses the block. The word also holds its attachment and its number. Attachments are
/// unique, so a block of a dead process is never mistaken for one of a living process with the same
/// number.
const HELD: u64 = 1;
/// The block belongs to a message; the word also holds its position.
const IN_SLOT: u64 = 2;
const TAG: u64 = 3;

/// Blocks below this index are always tried first; a hint says where to start among the others.
const LOW: usize = 16;

/// A block that the caller writes or reads. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Held<'a> {
    ring: &'a Ring,
    pub(super) block: usize,
}

impl Ring {
    fn held(&self) -> u64 {
        (self.attachment() << 14) | (u64::from(self.number()) << 2) | HELD
    }

    fn block_word(&self, block: usize) -> &AtomicU64 {
        self.region.word(self.layout.block_word(block))
    }

    /// Takes a block to write to; `None` if none is free now. Low indices come first: their memory
    /// has been touched, and is in some processor's cache.
    pub(super) fn take_block(&self) -> Option<Held<'_>> {
        let blocks = self.layout.blocks;
        let take = |block: &usize| {
            self.block_word(*block).load(Relaxed) == FREE && self.exchange_for_held(*block, FREE)
        };
        let low = blocks.min(LOW);
        let free = (0..low).find(take).or_else(|| {
            if low == blocks {
                return None;
            }
            let hint = self.region.word(NEXT_BLOCK);
            let seen = hint.load(Relaxed);
            let next = usize::try_from(seen).unwrap_or(0).clamp(low, blocks);
            let found = (next..blocks).chain(low..next).find(take)?;
            let _ = hint.compare_exchange(seen, found as u64 + 1, Relaxed, Relaxed);
            Some(found)
        });
        let block = free.or_else(|| {
            (0..blocks).find(|&block| {
                let word = self.block_word(block).load(Acquire);
                self.is_abandoned(word) && self.exchange_for_held(block, word)
            })
        })?;
        Some(Held { ring: self, block })
    }

    fn exchange_for_held(&self, block: usize, word: u64) -> bool {
        self.block_word(block).compare_exchange(word, self.held(), AcqRel, Relaxed).is_ok()
    }

    /// Returns true if no process will free the block: its owner is dead, or its message was passed
    /// over.
    #[cold]
    fn is_abandoned(&self, word: u64) -> bool {
        match word & TAG {
            HELD => {
                let owner = (word >> 2) as u32 & (MAX_ATTACHED - 1);
                !self.is_alive(owner)
            }
            IN_SLOT => {
                let position = Position(word >> 2);
                if !position.is_valid(self.layout.capacity) {
                    return true;
                }
                let slot = Word(self.slot(position.index()).load(Acquire));
                match laps_ahead(slot.lap(), position.lap()) {
                    0 => matches!(slot.state(), Some(State::Free) | None),
                    _ => true,
                }
            }
            _ => true,
        }
    }

    /// Frees the blocks of a dead process that had this process's number.
    pub(super) fn free_blocks_of_predecessor(&self) {
        for block in 0..self.layout.blocks {
            let word = self.block_word(block).load(Acquire);
            let owner = (word >> 2) as u32 & (MAX_ATTACHED - 1);
            if word & TAG == HELD && owner == self.number() && word != self.held() {
                let _ = self.block_word(block).compare_exchange(word, FREE, AcqRel, Relaxed);
            }
        }
    }

    /// Takes the block of a message that the caller has claimed; `None` if the block is not that
    /// message's.
    pub(super) fn block_of(&self, position: Position, block: usize) -> Option<Held<'_>> {
        let taken = self.exchange_for_held(block, (position.0 << 2) | IN_SLOT);
        taken.then_some(Held { ring: self, block })
    }
}

impl Held<'_> {
    /// Hands the block over to the message at `position`.
    pub(super) fn hand_to(self, position: Position) {
        self.ring.block_word(self.block).store((position.0 << 2) | IN_SLOT, Release);
        mem::forget(self);
    }

    /// Returns the block's offset in the memory.
    pub(super) fn offset(&self) -> usize {
        self.ring.layout.block(self.block)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.ring.block_word(self.block).store(FREE, Release);
        if self.block >= LOW {
            self.ring.region.word(NEXT_BLOCK).fetch_min(self.block as u64, Relaxed);
        }
        // Waiters for a block also poll; this wakes them sooner.
        self.ring.wake_all(Side::Sender);
    }
}
