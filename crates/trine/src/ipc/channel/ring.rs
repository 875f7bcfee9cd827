//! The queue: slots that are claimed, filled, taken and freed by processes each of which may die at any step.
//!
//! Every step is one compare-and-swap of one slot's word (`layout.rs` has the states), and head and tail are
//! hints that anybody moves on, as in the array queue of Tsigas and Zhang ("A simple, fast and scalable
//! non-blocking concurrent FIFO queue for shared memory multiprocessor systems", 2001). What is claimed and
//! not finished belongs to a number; if nobody has that number any more, whoever comes across it frees it.
//!
//! # Who wakes whom, so that no death loses a wake-up
//!
//! One who would sleep *arms* its side first, looks once more, and sleeps without bound only if the slot it
//! needs is `FREE` (a receiver) or `FULL` (a sender). One who claims that slot wakes the armed side **between the
//! claim and its end**, or at its end in one step of the kernel (`FUTEX_WAKE_OP`, in which nobody is killed). Killed
//! before the wake-up, it has delivered nothing; killed after it, those who were woken find its unfinished claim,
//! and free it. They wait for a claim's end with a bound, and not only for a wake-up.
//! The mark is taken off after that, unless somebody has armed meanwhile.
//!
//! A bell cannot be rung in one step with the end of a claim. It is rung before, and once more behind if somebody
//! has come too early and armed again.
//!
//! Ordering: arming and claiming are both `SeqCst`, as are the looks that follow; so of a sleeper and a
//! claimer one sees the other.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};

use super::layout::{
    ATTACHMENTS, DEPARTURES, Described, HEAD, Layout, NUMBERS, Position, RECEIVERS, SENDERS, State,
    TAIL, Word, laps_ahead,
};
use crate::sys::atomic::{AtomicU32, AtomicU64};
use crate::sys::futex;
use crate::sys::io::reopen;
use crate::sys::memory::shared::SharedMemory;
use crate::sys::presence::Presence;

/// Of a side's first word: threads sleep on its second one.
pub(super) const THREADS: u32 = 1;
/// Others wait for the bell.
pub(super) const OTHERS: u32 = 2;
/// Above these two the word counts who has armed.
const KINDS: u32 = THREADS | OTHERS;

/// Who does something with a channel.
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

/// What a look at the queue has found.
#[derive(Debug)]
pub(super) enum Found<T> {
    /// A slot that is the caller's now, or what was in one.
    Claimed(T),
    /// No message, or no room: a wake-up tells when that changes.
    Nothing,
    /// Somebody else is in the middle of something, of a claim if one is named: look again soon.
    Soon(Option<Unfinished>),
    /// Nonsense, which another process must have written.
    Broken,
}

/// A claim that somebody has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unfinished {
    index: usize,
    word: Word,
}

/// A channel's memory, as one process sees it.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) region: SharedMemory,
    pub(super) layout: Layout,
    pub(super) bell: Arc<OwnedFd>,
    presence: Presence,
    /// Nobody else has or had this one.
    attachment: u64,
}

/// How often a claim goes after hints that others move before it lets them be.
const CHASES: u32 = 1000;

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
            ring.free_of_predecessor();
        }
        ring
    }

    /// Frees what the last one of this number has left unfinished; others would take it for ours.
    fn free_of_predecessor(&self) {
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

    pub(super) fn is_there(&self, number: u32) -> bool {
        self.presence.is_there(number)
    }

    #[inline]
    pub(super) fn slot(&self, index: usize) -> &AtomicU64 {
        self.region.word(self.layout.slot(index))
    }

    #[inline]
    fn hint(&self, offset: usize) -> Option<Position> {
        let position = Position(self.region.word(offset).load(Acquire));
        position.is_sane(self.layout.capacity).then_some(position)
    }

    /// Moves a hint past `position`, unless somebody has.
    #[inline]
    fn pass(&self, offset: usize, position: Position) {
        let next = self.layout.next(position);
        let _ = self.region.word(offset).compare_exchange(position.0, next.0, AcqRel, Relaxed);
    }

    /// A free slot becomes the caller's, who then writes it and [publishes](Ring::publish).
    #[inline]
    pub(super) fn claim_to_write(&self) -> Found<Position> {
        for _ in 0..CHASES {
            let Some(tail) = self.hint(TAIL) else { return Found::Broken };
            let slot = self.slot(tail.index());
            let word = Word(slot.load(SeqCst));
            let Some(state) = word.state() else { return Found::Broken };
            match (laps_ahead(word.lap(), tail.lap()), state) {
                (0, State::Free) => {
                    if self.claim(slot, word, State::Writing) {
                        self.pass(TAIL, tail);
                        self.prefetch_behind(tail);
                        return Found::Claimed(tail);
                    }
                }
                (0.., _) => self.pass(TAIL, tail),
                (-1, State::Full) => return Found::Nothing,
                (-1, State::Reading | State::Writing) => return unfinished(tail, word),
                _ => return Found::Broken,
            }
        }
        Found::Soon(None)
    }

    /// Whether there was no room a moment ago; claims none.
    #[inline]
    pub(super) fn seems_full(&self) -> bool {
        self.hint(TAIL).is_some_and(|tail| {
            let word = Word(self.slot(tail.index()).load(Relaxed));
            laps_ahead(word.lap(), tail.lap()) == -1 && word.state() == Some(State::Full)
        })
    }

    /// A message becomes the caller's, who takes it out and then [releases](Ring::release) the slot.
    #[inline]
    pub(super) fn claim_to_read(&self) -> Found<Position> {
        for _ in 0..CHASES {
            let Some(head) = self.hint(HEAD) else { return Found::Broken };
            let slot = self.slot(head.index());
            let word = Word(slot.load(SeqCst));
            let Some(state) = word.state() else { return Found::Broken };
            match (laps_ahead(word.lap(), head.lap()), state) {
                (0, State::Full) => {
                    if self.claim(slot, word, State::Reading) {
                        self.pass(HEAD, head);
                        self.prefetch_behind(head);
                        return Found::Claimed(head);
                    }
                }
                (0, State::Free) => return Found::Nothing,
                (0, State::Writing) => return unfinished(head, word),
                (0.., _) => self.pass(HEAD, head),
                // The one from a lap ago is being taken out: nobody can have written behind it.
                (-1, State::Reading) => return unfinished(head, word),
                _ => return Found::Broken,
            }
        }
        Found::Soon(None)
    }

    /// The next message follows at once where many are sent.
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

    /// Ends a claim in the place of its owner, if that is dead; says whether it is.
    #[cold]
    pub(super) fn settle(&self, Unfinished { index, word }: Unfinished) -> bool {
        let dead = !self.is_there(word.owner());
        if dead {
            self.free_abandoned(self.slot(index), word);
        }
        dead
    }

    /// Frees what a dead process has claimed. Those who sleep are woken before, as it may not have done so.
    fn free_abandoned(&self, slot: &AtomicU64, word: Word) {
        self.wake_all(Side::Sender);
        self.wake_all(Side::Receiver);
        let _ = slot.compare_exchange(word.0, word.freed().0, SeqCst, Relaxed);
    }

    /// Says what the message in a claimed slot is.
    #[inline]
    pub(super) fn describe(&self, position: Position, message: Described) {
        let text = self.region.word(self.layout.slot(position.index()) + 8);
        text.store(message.to_word(), Relaxed);
    }

    /// What [`describe`](Ring::describe) has said, if it makes sense.
    #[inline]
    pub(super) fn description(&self, position: Position) -> Option<Described> {
        let text = self.region.word(self.layout.slot(position.index()) + 8);
        Some(Described::of_word(text.load(Relaxed))).filter(|message| self.layout.holds(message))
    }

    /// Where the bytes of a short message lie.
    #[inline]
    pub(super) fn inline(&self, position: Position) -> usize {
        self.layout.slot(position.index()) + 16
    }

    /// Ends a claim to write: from here on the message can be taken.
    #[inline]
    pub(super) fn publish(&self, position: Position) {
        self.finish(position, State::Writing, State::Full, Side::Receiver);
    }

    /// Ends a claim to read: from here on there is room.
    #[inline]
    pub(super) fn release(&self, position: Position) {
        self.finish(position, State::Reading, State::Emptied, Side::Sender);
    }

    /// Ends a claim, and wakes those of a side that need the slot.
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
        let news = self.news(side);
        news.fetch_add(1, SeqCst);
        if marks & OTHERS != 0 {
            reopen::ring_for_all(self.bell.as_fd());
        }
        let slot = self.layout.slot(position.index());
        let difference = from as u32 ^ to as u32;
        let woken = marks & THREADS != 0
            && futex::change_and_wake(self.region.low_half(slot), difference, news).is_ok();
        if !woken {
            let word = Word::new(to, 0, position.lap());
            self.slot(position.index()).store(word.0, Release);
        }
        let armed = self.region.half(side.words());
        let later = armed.compare_exchange(marks, marks & !KINDS, SeqCst, SeqCst);
        // Those whom the bell has brought too early.
        if later.is_err_and(|marks| marks & OTHERS != 0) {
            news.fetch_add(1, SeqCst);
            reopen::ring_for_all(self.bell.as_fd());
        }
    }

    /// How many messages there are, at this moment.
    pub(super) fn len(&self) -> usize {
        match (self.hint(HEAD), self.hint(TAIL)) {
            (Some(head), Some(tail)) => self.layout.distance(head, tail),
            _ => 0,
        }
    }

    /// Notes that the caller is about to sleep, and gives what its side's word holds.
    pub(super) fn arm(&self, side: Side, kind: u32) -> u32 {
        let news = self.news(side).load(SeqCst);
        // Never the same marks twice: who takes them off has woken all whom it takes them off for.
        let mark = |marks: u32| Some(marks.wrapping_add(KINDS + 1) | kind);
        let _ = self.region.half(side.words()).fetch_update(SeqCst, SeqCst, mark);
        news
    }

    /// The word that the threads of a side sleep on.
    pub(super) fn news(&self, side: Side) -> &AtomicU32 {
        self.region.half(side.words() + 4)
    }

    /// Wakes those of a side that sleep, and leaves their marks on.
    #[inline]
    pub(super) fn wake_all(&self, side: Side) {
        let marks = self.region.half(side.words()).load(SeqCst);
        if marks & KINDS == 0 {
            return;
        }
        let news = self.news(side);
        news.fetch_add(1, SeqCst);
        // It can only fail if the page cannot be had, and then nobody sleeps on it.
        let _ = futex::wake_shared(news);
        if marks & OTHERS != 0 {
            reopen::ring_for_all(self.bell.as_fd());
        }
    }

    /// Notes that the last end of `side` in this process is gone.
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
    Found::Soon(Some(Unfinished { index: at.index(), word }))
}
