//! Room for messages that are too long for a slot.
//!
//! A block belongs to a process while that writes or reads it, and to a position of the queue in between. Both can be
//! found gone: the process has died, the position has been passed. So no block is ever lost.

use std::mem;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::layout::{MOST_ATTACHED, NEXT_BLOCK, Position, State, Word, laps_ahead};
use super::ring::{Ring, Side};
use crate::sys::atomic::AtomicU64;

/// The whole word, or what its two lowest bits say.
const FREE: u64 = 0;
/// With the attachment and the number of its owner. No two attachments are alike, so what a dead one held
/// is never mistaken for what a living one of its number holds.
const HELD: u64 = 1;
/// With a position.
const IN_SLOT: u64 = 2;
const TAG: u64 = 3;

/// How many blocks are looked at always; of the others a hint says where to begin.
const LOW: usize = 16;

/// A block that the caller writes or reads; freed when dropped.
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

    /// A block to write to; `None` if there is none just now. Low ones come first: they have been touched, and are in
    /// somebody's cache.
    pub(super) fn take_block(&self) -> Option<Held<'_>> {
        let blocks = self.layout.blocks;
        let take = |block: &usize| {
            self.block_word(*block).load(Relaxed) == FREE && self.exchange_for_held(*block, FREE)
        };
        let low = blocks.min(LOW);
        let free = (0..low).find(take).or_else(|| {
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
                self.is_lost(word) && self.exchange_for_held(block, word)
            })
        })?;
        Some(Held { ring: self, block })
    }

    fn exchange_for_held(&self, block: usize, word: u64) -> bool {
        self.block_word(block).compare_exchange(word, self.held(), AcqRel, Relaxed).is_ok()
    }

    /// Whether nobody will free it any more, but one who needs it.
    #[cold]
    fn is_lost(&self, word: u64) -> bool {
        match word & TAG {
            HELD => {
                let owner = (word >> 2) as u32 & (MOST_ATTACHED - 1);
                !self.is_there(owner)
            }
            IN_SLOT => {
                let position = Position(word >> 2);
                if !position.is_sane(self.layout.capacity) {
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

    /// Frees what the last one of this number has held.
    pub(super) fn free_blocks_of_predecessor(&self) {
        for block in 0..self.layout.blocks {
            let word = self.block_word(block).load(Acquire);
            let owner = (word >> 2) as u32 & (MOST_ATTACHED - 1);
            if word & TAG == HELD && owner == self.number() && word != self.held() {
                let _ = self.block_word(block).compare_exchange(word, FREE, AcqRel, Relaxed);
            }
        }
    }

    /// The block of a message that the caller has claimed; `None` if it is another one's.
    pub(super) fn block_of(&self, position: Position, block: usize) -> Option<Held<'_>> {
        let taken = self.exchange_for_held(block, (position.0 << 2) | IN_SLOT);
        taken.then_some(Held { ring: self, block })
    }
}

impl Held<'_> {
    /// The block belongs to the message at `position` from here on.
    pub(super) fn give_to(self, position: Position) {
        self.ring.block_word(self.block).store((position.0 << 2) | IN_SLOT, Release);
        mem::forget(self);
    }

    /// Where it lies.
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
        // One who waits for a block looks now and then by itself; this is sooner.
        self.ring.wake_all(Side::Sender);
    }
}
