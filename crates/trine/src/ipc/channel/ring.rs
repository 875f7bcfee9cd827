//! The queue: slots that processes claim, fill, take and free. Any of them may die at any step.
//!
//! Every step is one compare-and-swap of one slot's word (`layout.rs` has the states). Head and
//! tail are hints that any process advances, as in the array queue of Tsigas and Zhang ("A simple,
//! fast and scalable non-blocking concurrent FIFO queue for shared memory multiprocessor systems",
//! 2001). An unfinished claim belongs to a number. Once no living process has that number, the next
//! process that finds the claim frees it.
//!
//! # Wake-ups survive every death
//!
//! A process that is about to sleep first *arms* its side, then looks once more. It sleeps without
//! bound only if the slot that it needs is `FREE` (a receiver) or `FULL` (a sender).
//!
//! The process that claims that slot wakes the armed side **between the claim and its end**, or at
//! its end in one step of the kernel (`FUTEX_WAKE_OP`, during which no process is killed). If it is
//! killed before the wake-up, it has delivered nothing. If it is killed after the wake-up, the
//! woken processes find its unfinished claim and free it: they wait for a claim's end with a bound,
//! and not only for a wake-up. The claimer clears the marks of the armed side after that, unless a
//! process has armed it meanwhile.
//!
//! The bell cannot be rung in one step with the end of a claim. It is rung before, and once more
//! after, if a process woke too early and armed again.
//!
//! Ordering: arming and claiming are both `SeqCst`, as are the looks that follow. So of a sleeper
//! and a claimer, at least one sees the other.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use super::layout::{
    ATTACHMENTS, DEPARTURES, HEAD, Layout, MessageHeader, NUMBERS, Position, RECEIVERS, SENDERS,
    State, TAIL, Word, laps_ahead,
};
use crate::sys::atomic::{AtomicU32, AtomicU64};
use crate::sys::futex;
use crate::sys::io::reopen;
use crate::sys::memory::shared::SharedMemory;
use crate::sys::presence::Presence;

/// Mark in a side's first word: threads sleep on its second word.
pub(super) const THREADS: u32 = 1;
/// Mark in a side's first word: coroutines wait for the bell.
pub(super) const OTHERS: u32 = 2;
/// Both marks. The bits above them count how often the side was armed.
const KINDS: u32 = THREADS | OTHERS;

/// A side of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Sender,
    Receiver,
}

impl Side {
    pub(super) fn other(self) -> Side {
        match self {
            Side::Sender => Side::Receiver,
            Side::Receiver => Side::Sender,
        }
    }

    #[inline]
    fn words(self) -> usize {
        match self {
            Side::Sender => SENDERS,
            Side::Receiver => RECEIVERS,
        }
    }
}

/// The result of a look at the queue.
#[derive(Debug)]
pub(super) enum Found<T> {
    /// A slot that the caller has claimed, or the message of one.
    Claimed(T),
    /// No message, or no room. A wake-up reports when that changes.
    Nothing,
    /// Another process is in the middle of a step, possibly in this claim: look again soon.
    Busy(Option<Unfinished>),
    /// The memory is corrupted, which another process must have done.
    Broken,
}

/// A claim that another process has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unfinished {
    index: usize,
    word: Word,
}

/// A channel's memory as one process sees it.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) region: SharedMemory,
    pub(super) layout: Layout,
    pub(super) bell: Arc<OwnedFd>,
    presence: Presence,
    /// Unique among all attachments of the channel.
    attachment: u64,
}

/// Attempts to claim a slot while others advance the hints, before the caller backs off.
const MAX_CLAIM_ATTEMPTS: u32 = 1000;

impl Ring {
    pub(super) fn new(
        region: SharedMemory,
        layout: Layout,
        bell: OwnedFd,
        presence: Presence,
    ) -> Ring {
        let attachment = region.word(ATTACHMENTS).fetch_add(1, Relaxed) & ((1 << 48) - 1);
        let ring = Ring { region, layout, bell: Arc::new(bell), presence, attachment };
        let number = u64::from(ring.number());
        if ring.region.word(NUMBERS).fetch_max(number + 1, AcqRel) > number {
            ring.free_claims_of_predecessor();
        }
        ring
    }

    /// Frees the unfinished claims of a dead process that had this process's number; others would
    /// take them for its own.
    fn free_claims_of_predecessor(&self) {
        for index in 0..self.layout.capacity {
            let slot = self.slot(index);
            let word = Word(slot.load(Acquire));
            let unfinished = matches!(word.state(), Some(State::Writing | State::Reading));
            if unfinished && word.owner() == self.number() {
                self.free_abandoned(slot, word);
            }
        }
        self.free_blocks_of_predecessor();
    }

    #[inline]
    pub(super) fn number(&self) -> u32 {
        self.presence.number()
    }

    #[inline]
    pub(super) fn attachment(&self) -> u64 {
        self.attachment
    }

    pub(super) fn is_alive(&self, number: u32) -> bool {
        self.presence.is_there(number)
    }

    #[inline]
    pub(super) fn slot(&self, index: usize) -> &AtomicU64 {
        self.region.word(self.layout.slot(index))
    }

    #[inline]
    fn hint(&self, offset: usize) -> Option<Position> {
        let position = Position(self.region.word(offset).load(Acquire));
        position.is_valid(self.layout.capacity).then_some(position)
    }

    /// Advances a hint past `position`, unless another process has.
    #[inline]
    fn advance(&self, offset: usize, position: Position) {
        let next = self.layout.next(position);
        let _ = self.region.word(offset).compare_exchange(position.0, next.0, AcqRel, Relaxed);
    }

    /// Claims a free slot. The caller then writes a message and [publishes](Ring::publish) it.
    #[inline]
    pub(super) fn claim_to_write(&self) -> Found<Position> {
        for _ in 0..MAX_CLAIM_ATTEMPTS {
            let Some(tail) = self.hint(TAIL) else { return Found::Broken };
            let slot = self.slot(tail.index());
            let word = Word(slot.load(SeqCst));
            let Some(state) = word.state() else { return Found::Broken };
            match (laps_ahead(word.lap(), tail.lap()), state) {
                (0, State::Free) => {
                    if self.claim(slot, word, State::Writing) {
                        self.advance(TAIL, tail);
                        self.prefetch_behind(tail);
                        return Found::Claimed(tail);
                    }
                }
                (0.., _) => self.advance(TAIL, tail),
                (-1, State::Full) => return Found::Nothing,
                (-1, State::Reading | State::Writing) => return unfinished(tail, word),
                _ => return Found::Broken,
            }
        }
        Found::Busy(None)
    }

    /// Returns true if there was no room a moment ago; claims nothing.
    #[inline]
    pub(super) fn seems_full(&self) -> bool {
        self.hint(TAIL).is_some_and(|tail| {
            let word = Word(self.slot(tail.index()).load(Relaxed));
            laps_ahead(word.lap(), tail.lap()) == -1 && word.state() == Some(State::Full)
        })
    }

    /// Claims a message. The caller then takes it out and [releases](Ring::release) the slot.
    #[inline]
    pub(super) fn claim_to_read(&self) -> Found<Position> {
        for _ in 0..MAX_CLAIM_ATTEMPTS {
            let Some(head) = self.hint(HEAD) else { return Found::Broken };
            let slot = self.slot(head.index());
            let word = Word(slot.load(SeqCst));
            let Some(state) = word.state() else { return Found::Broken };
            match (laps_ahead(word.lap(), head.lap()), state) {
                (0, State::Full) => {
                    if self.claim(slot, word, State::Reading) {
                        self.advance(HEAD, head);
                        self.prefetch_behind(head);
                        return Found::Claimed(head);
                    }
                }
                (0, State::Free) => return Found::Nothing,
                (0, State::Writing) => return unfinished(head, word),
                (0.., _) => self.advance(HEAD, head),
                // The message of one lap ago is being taken out, so none can have been written
                // behind it.
                (-1, State::Reading) => return unfinished(head, word),
                _ => return Found::Broken,
            }
        }
        Found::Busy(None)
    }

    /// Prefetches the next slot, which is used next when many messages are sent.
    #[inline]
    fn prefetch_behind(&self, position: Position) {
        let slot = self.layout.slot(self.layout.next(position).index());
        self.region.prefetch(slot);
    }

    #[inline]
    fn claim(&self, slot: &AtomicU64, word: Word, state: State) -> bool {
        let claimed = Word::new(state, self.number(), word.lap());
        slot.compare_exchange(word.0, claimed.0, SeqCst, Relaxed).is_ok()
    }

    /// Ends a claim if its owner is dead; returns true if it is.
    #[cold]
    pub(super) fn reclaim(&self, Unfinished { index, word }: Unfinished) -> bool {
        let dead = !self.is_alive(word.owner());
        if dead {
            self.free_abandoned(self.slot(index), word);
        }
        dead
    }

    /// Frees a slot that a dead process has claimed. Wakes all sleepers first, because that process
    /// may not have done so.
    fn free_abandoned(&self, slot: &AtomicU64, word: Word) {
        self.wake_all(Side::Sender);
        self.wake_all(Side::Receiver);
        let _ = slot.compare_exchange(word.0, word.freed().0, SeqCst, Relaxed);
    }

    /// Writes the header of the message in a claimed slot.
    #[inline]
    pub(super) fn write_header(&self, position: Position, message: MessageHeader) {
        let header = self.region.word(self.layout.slot(position.index()) + 8);
        header.store(message.to_word(), Relaxed);
    }

    /// Reads a message's header; `None` if it is not valid.
    #[inline]
    pub(super) fn read_header(&self, position: Position) -> Option<MessageHeader> {
        let header = self.region.word(self.layout.slot(position.index()) + 8);
        Some(MessageHeader::from_word(header.load(Relaxed)))
            .filter(|message| self.layout.holds(message))
    }

    /// Returns the offset of a short message's bytes.
    #[inline]
    pub(super) fn inline(&self, position: Position) -> usize {
        self.layout.slot(position.index()) + 16
    }

    /// Ends a claim to write: from here on the message can be received.
    #[inline]
    pub(super) fn publish(&self, position: Position) {
        self.finish(position, State::Writing, State::Full, Side::Receiver);
    }

    /// Ends a claim to read: from here on there is room.
    #[inline]
    pub(super) fn release(&self, position: Position) {
        self.finish(position, State::Reading, State::Emptied, Side::Sender);
    }

    /// Ends a claim, and wakes the waiters of the side that needs the slot.
    #[inline]
    fn finish(&self, position: Position, from: State, to: State, side: Side) {
        let marks = self.region.half(side.words()).load(SeqCst);
        if marks & KINDS == 0 {
            let word = Word::new(to, 0, position.lap());
            return self.slot(position.index()).store(word.0, Release);
        }
        self.finish_waking(position, from, to, side, marks);
    }

    #[cold]
    fn finish_waking(&self, position: Position, from: State, to: State, side: Side, marks: u32) {
        let epoch = self.epoch(side);
        epoch.fetch_add(1, SeqCst);
        if marks & OTHERS != 0 {
            reopen::ring_for_all(self.bell.as_fd());
        }
        let slot = self.layout.slot(position.index());
        let difference = from as u32 ^ to as u32;
        let woken = marks & THREADS != 0
            && futex::change_and_wake(self.region.low_half(slot), difference, epoch).is_ok();
        if !woken {
            let word = Word::new(to, 0, position.lap());
            self.slot(position.index()).store(word.0, Release);
        }
        let armed = self.region.half(side.words());
        let later = armed.compare_exchange(marks, marks & !KINDS, SeqCst, SeqCst);
        // Wakes those that the bell has woken too early.
        if later.is_err_and(|marks| marks & OTHERS != 0) {
            epoch.fetch_add(1, SeqCst);
            reopen::ring_for_all(self.bell.as_fd());
        }
    }

    /// Returns the current number of messages.
    pub(super) fn len(&self) -> usize {
        match (self.hint(HEAD), self.hint(TAIL)) {
            (Some(head), Some(tail)) => self.layout.distance(head, tail),
            _ => 0,
        }
    }

    /// Records that the caller is about to sleep, and returns its side's current epoch.
    pub(super) fn arm(&self, side: Side, kind: u32) -> u32 {
        let epoch = self.epoch(side).load(SeqCst);
        // Marks never repeat, so a process that clears them has woken all waiters that set them.
        let mark = |marks: u32| Some(marks.wrapping_add(KINDS + 1) | kind);
        let _ = self.region.half(side.words()).fetch_update(SeqCst, SeqCst, mark);
        epoch
    }

    /// Returns the word that a side's threads sleep on. It counts the side's wake-ups.
    pub(super) fn epoch(&self, side: Side) -> &AtomicU32 {
        self.region.half(side.words() + 4)
    }

    /// Wakes all sleepers of a side, and leaves the marks set.
    #[inline]
    pub(super) fn wake_all(&self, side: Side) {
        let marks = self.region.half(side.words()).load(SeqCst);
        if marks & KINDS == 0 {
            return;
        }
        let epoch = self.epoch(side);
        epoch.fetch_add(1, SeqCst);
        // Fails only if the page cannot be accessed, and then no thread sleeps on it.
        let _ = futex::wake_shared(epoch);
        if marks & OTHERS != 0 {
            reopen::ring_for_all(self.bell.as_fd());
        }
    }

    /// Records that this process has closed its last end of `side`, and wakes the other side.
    pub(super) fn depart(&self, side: Side) {
        self.region.half(DEPARTURES).fetch_add(1, SeqCst);
        self.wake_all(side.other());
    }

    #[inline]
    pub(super) fn departures(&self) -> u32 {
        self.region.half(DEPARTURES).load(SeqCst)
    }
}

fn unfinished(at: Position, word: Word) -> Found<Position> {
    Found::Busy(Some(Unfinished { index: at.index(), word }))
}
