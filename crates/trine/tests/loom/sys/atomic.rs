//! Stands in for `src/sys/atomic.rs`, with loom's atomics. Each access is a step at which its
//! thread can die.
//!
//! Loom treats a `SeqCst` access as `AcqRel`. Here a full fence precedes it, so of two such
//! accesses in one thread the second is not made before the first. That is a little more than the
//! language guarantees, as the fence also orders earlier accesses that are not `SeqCst`.
//!
//! A store to a word that threads sleep on is a swap here: if a store and a swap meet, loom lets
//! the store overtake the swap, and the swap still be the last.

use std::sync::atomic::Ordering;

pub(crate) use loom::sync::{Mutex, MutexGuard};

use super::futex::{Bed, Word};
use super::{life, time};

pub(crate) fn fence(order: Ordering) {
    if life::step() {
        loom::sync::atomic::fence(order);
    }
}

/// Begins an access. Returns false if the caller is dead.
fn begin(order: Ordering) -> bool {
    let alive = life::step();
    if alive && order == Ordering::SeqCst {
        loom::sync::atomic::fence(order);
    }
    alive
}

macro_rules! atomic {
    ($name:ident, $word:ty, $bed:ty, $store:ident, $changed:expr) => {
        #[derive(Debug)]
        pub(crate) struct $name {
            word: loom::sync::atomic::$name,
            bed: $bed,
        }

        impl $name {
            pub(crate) fn new(word: $word) -> $name {
                $name { word: loom::sync::atomic::$name::new(word), bed: <$bed>::default() }
            }

            pub(crate) fn load(&self, order: Ordering) -> $word {
                if begin(order) { self.word.load(order) } else { 0 }
            }

            pub(crate) fn store(&self, word: $word, order: Ordering) {
                if begin(order) {
                    _ = self.word.$store(word, order);
                    $changed();
                }
            }

            pub(crate) fn swap(&self, word: $word, order: Ordering) -> $word {
                if begin(order) { self.word.swap(word, order) } else { 0 }
            }

            pub(crate) fn fetch_add(&self, word: $word, order: Ordering) -> $word {
                if begin(order) { self.word.fetch_add(word, order) } else { 0 }
            }

            pub(crate) fn fetch_sub(&self, word: $word, order: Ordering) -> $word {
                if begin(order) { self.word.fetch_sub(word, order) } else { 0 }
            }

            pub(crate) fn fetch_and(&self, word: $word, order: Ordering) -> $word {
                if begin(order) { self.word.fetch_and(word, order) } else { 0 }
            }

            pub(crate) fn fetch_xor(&self, word: $word, order: Ordering) -> $word {
                if begin(order) { self.word.fetch_xor(word, order) } else { 0 }
            }

            pub(crate) fn fetch_max(&self, word: $word, order: Ordering) -> $word {
                if begin(order) { self.word.fetch_max(word, order) } else { 0 }
            }

            pub(crate) fn fetch_min(&self, word: $word, order: Ordering) -> $word {
                if begin(order) { self.word.fetch_min(word, order) } else { 0 }
            }

            pub(crate) fn compare_exchange(
                &self,
                now: $word,
                next: $word,
                done: Ordering,
                failed: Ordering,
            ) -> Result<$word, $word> {
                if begin(done) {
                    let result = self.word.compare_exchange(now, next, done, failed);
                    if result.is_ok() && now != next {
                        $changed();
                    }
                    result
                } else {
                    Ok(now)
                }
            }

            pub(crate) fn fetch_update(
                &self,
                done: Ordering,
                failed: Ordering,
                mut next: impl FnMut($word) -> Option<$word>,
            ) -> Result<$word, $word> {
                let mut now = self.load(failed);
                while let Some(word) = next(now) {
                    match self.compare_exchange(now, word, done, failed) {
                        Err(other) => now = other,
                        done => return done,
                    }
                }
                Err(now)
            }

            pub(crate) fn try_update(
                &self,
                done: Ordering,
                failed: Ordering,
                next: impl FnMut($word) -> Option<$word>,
            ) -> Result<$word, $word> {
                self.fetch_update(done, failed, next)
            }
        }
    };
}

atomic!(AtomicU32, u32, Bed, swap, || ());
atomic!(AtomicU64, u64, (), store, time::change);

impl Word for AtomicU32 {
    fn value(&self) -> u32 {
        self.word.load(Ordering::Relaxed)
    }

    fn bed(&self) -> &Bed {
        &self.bed
    }
}

impl AtomicU32 {
    /// Counts up as the kernel does; no step of its own.
    pub(super) fn count(&self) {
        self.word.fetch_add(1, Ordering::AcqRel);
    }
}

impl AtomicU64 {
    /// Flips bits as the kernel does; no step of its own.
    pub(super) fn change(&self, bits: u64) {
        self.word.fetch_xor(bits, Ordering::AcqRel);
        time::change();
    }

    /// Reads the word as the kernel does.
    pub(super) fn look(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }
}
