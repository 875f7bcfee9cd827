//! Stands in for `src/sys/futex.rs`.

use std::io;
use std::sync::Mutex;
use std::task::Waker;

use loom::sync::atomic::AtomicU32 as Steps;
use std::sync::atomic::Ordering::AcqRel;

use super::atomic::AtomicU64;
use super::life;
use crate::task::park;

/// A word that threads can sleep on.
pub(crate) trait Word {
    fn value(&self) -> u32;
    fn bed(&self) -> &Bed;
}

/// The threads that sleep on a word, as the kernel knows them.
#[derive(Debug, Default)]
pub(crate) struct Bed {
    /// Each call accesses it, so that loom orders calls as the kernel's lock of the word does.
    steps: Steps,
    /// A mutex of std, which is free whenever loom lets another thread run.
    sleepers: Mutex<Vec<(u64, Waker)>>,
}

impl Bed {
    /// Wakes at most `most` threads, and returns how many.
    pub(crate) fn wake(&self, most: usize) -> usize {
        self.steps.fetch_add(1, AcqRel);
        self.take(most)
    }

    fn take(&self, most: usize) -> usize {
        let mut sleepers = self.sleepers.lock().unwrap();
        let most = most.min(sleepers.len());
        let woken: Vec<_> = sleepers.drain(..most).collect();
        drop(sleepers);
        woken.into_iter().for_each(|(_, waker)| waker.wake());
        most
    }
}

/// Sleeps while `word` holds `expected`, or until the caller's waker is used. May return early.
pub(crate) fn wait(word: &impl Word, expected: u32) {
    let bed = word.bed();
    bed.steps.fetch_add(1, AcqRel);
    let own = crate::task::registry::caller();
    bed.sleepers.lock().unwrap().push((own, park::waker()));
    if word.value() == expected {
        park::rest();
    }
    bed.sleepers.lock().unwrap().retain(|(other, _)| *other != own);
}

pub(crate) fn wake_shared(word: &impl Word) -> io::Result<usize> {
    Ok(if life::step() { word.bed().wake(usize::MAX) } else { 0 })
}

pub(crate) fn wake_shared_some(word: &impl Word, most: u32) {
    if life::step() {
        word.bed().wake(most as usize);
    }
}

/// One step, in which no thread dies.
pub(crate) fn change_and_wake(changed: &AtomicU64, bits: u32, word: &impl Word) -> io::Result<()> {
    if life::step() {
        word.bed().steps.fetch_add(1, AcqRel);
        changed.change(bits.into());
        word.bed().take(usize::MAX);
    }
    Ok(())
}
