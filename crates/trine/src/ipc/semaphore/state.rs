//! Taking and returning permits, by the rules of glibc's `sem_wait` and `sem_post`
//! (`nptl/sem_waitcommon.c`).
//!
//! ```text
//!   word:  │ sleepers, asleep or about to be │ permits │
//!
//!   take        permits − 1                   if there is one
//!   wait        sleepers + 1, then sleep while permits = 0
//!   take last   permits − 1, sleepers − 1     in one step
//!   release     permits + n; if there are sleepers, wake n
//! ```
//!
//! Both counts are in one word. So a releaser that sees no sleeper comes before any process that
//! becomes one, and that process sees the permit: no ordering between two words is needed. Taking a
//! permit acquires what its releaser has released.
//!
//! The kernel wakes at most as many processes as there are permits. So a process that is woken and
//! takes no permit passes the wake-up on ([`Sleeper`]).

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::sys::atomic::AtomicU64;
use crate::sys::futex;
use crate::sys::semaphore::Memory;

/// Limit of the permits of a semaphore (`SEM_VALUE_MAX`).
pub(super) const MAX_PERMITS: u32 = i32::MAX.cast_unsigned();

const SLEEPER: u64 = 1 << 32;

/// Returns the permits of a word. Other processes write it, so any number is possible.
fn permits(word: u64) -> u32 {
    (word & u64::from(u32::MAX)) as u32
}

fn sleepers(word: u64) -> u32 {
    (word >> 32) as u32
}

pub(super) fn available(memory: &Memory) -> u32 {
    permits(memory.word().load(Acquire))
}

/// Takes a permit if there is one, and subtracts `also` from the word in the same step.
fn take(word: &AtomicU64, also: u64) -> bool {
    let taken = word
        .try_update(Acquire, Relaxed, |now| (permits(now) > 0).then(|| now.wrapping_sub(1 + also)));
    taken.is_ok()
}

pub(super) fn try_take(memory: &Memory) -> bool {
    take(memory.word(), 0)
}

/// Returns `n` permits; false if the sum would exceed [`MAX_PERMITS`].
pub(super) fn release(memory: &Memory, n: u32) -> bool {
    let given = memory.word().try_update(Release, Relaxed, |now| {
        let sum = permits(now).checked_add(n).filter(|sum| *sum <= MAX_PERMITS)?;
        Some(now - u64::from(permits(now)) + u64::from(sum))
    });
    if let Ok(before) = given
        && sleepers(before) > 0
    {
        futex::wake_shared_some(memory.futex(), n);
    }
    given.is_ok()
}

/// Wakes one more sleeper, if there is a permit for it.
pub(super) fn pass_on(memory: &Memory) {
    let now = memory.word().load(Relaxed);
    if permits(now) > 0 && sleepers(now) > 0 {
        futex::wake_shared_some(memory.futex(), 1);
    }
}

/// A waiter. It counts as a sleeper until it has a permit or is dropped.
pub(super) struct Sleeper<'a> {
    memory: &'a Memory,
    counted: bool,
}

impl<'a> Sleeper<'a> {
    pub(super) fn new(memory: &'a Memory) -> Sleeper<'a> {
        memory.word().fetch_add(SLEEPER, Relaxed);
        Sleeper { memory, counted: true }
    }

    /// Takes a permit if there is one; then the caller waits no longer.
    pub(super) fn take(&mut self) -> bool {
        let taken = take(self.memory.word(), SLEEPER);
        self.counted &= !taken;
        taken
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        if self.counted {
            self.memory.word().fetch_sub(SLEEPER, Relaxed);
            // This may be the sleeper that was woken for the permit that is there now.
            pass_on(self.memory);
        }
    }
}
