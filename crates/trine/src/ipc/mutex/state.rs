//! The memory of a mutex, and the transitions of its lock.
//!
//! ```text
//!   byte 0   kind     the fingerprint of the type
//!        8   word     the lock:   63 DIED  62 WAITING  61 RESERVED  …  39..0 owner, 0 if free
//!       16   active   the copy that is the value (bit 0)
//!       64   copy 0
//!       64+n copy 1   n: the size of the value, rounded up to 8
//! ```
//!
//! The holder writes a new value into the inactive copy and then flips `active`. If it is killed at
//! any instruction, the value is one that was set as a whole.
//!
//! Ordering: acquiring the lock acquires, releasing it releases. A holder that dies releases
//! nothing, so `active` is also written with release and read with acquire.
//!
//! Nothing here is trusted. Any bytes are some state of the lock; in the worst state, a living
//! process seems to hold it.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use bytemuck::Pod;

use crate::ipc::fingerprint::fingerprint;
use crate::ipc::shared::SharedError;
use crate::sys::atomic::AtomicU64;
use crate::sys::memory::sealed::Open;

const KIND: usize = 0;
const WORD: usize = 8;
const ACTIVE: usize = 16;
const VALUE: usize = 64;

/// The number of the attachment that holds the lock.
const OWNER: u64 = (1 << 40) - 1;
/// The lock is reserved for a process that has waited; a newcomer leaves it free. Set by waiters
/// that found it taken again after their wait; cleared by the process that takes it next.
const RESERVED: u64 = 1 << 61;
/// A process may be asleep; the holder wakes one when it releases the lock. Set by processes that
/// are about to sleep, while the lock is held.
const WAITING: u64 = 1 << 62;
/// A holder has died, and no holder has recovered the lock since. Set by the process that takes the
/// lock over.
const DIED: u64 = 1 << 63;

/// The result of an attempt to take the lock: the caller's next step.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The caller holds the lock.
    Taken(Before),
    /// The attachment of this number holds it: wait, or check that it is alive.
    Held(u64),
    /// The lock is free, but reserved for a process that has waited.
    Reserved,
}

/// The fate of earlier holders.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// All of them have released the lock or been recovered from.
    Released,
    /// A holder has died with it.
    Died,
}

/// The mapped memory of a mutex.
#[derive(Debug)]
pub(super) struct Memory(pub(super) Open);

impl Memory {
    /// Creates the memory of an unlocked mutex.
    pub(super) fn new<T: Pod>(value: T) -> Result<Memory, SharedError> {
        let bytes = size::<T>().ok_or(SharedError::TooLarge)?;
        let memory = Memory(Open::new(bytes).map_err(SharedError::of_new(bytes))?);
        // No other process has the memory yet, and the descriptor travels by a system call.
        memory.0.word(KIND).store(kind::<T>(), Relaxed);
        memory.write_copy(0, &value);
        Ok(memory)
    }

    /// Checks that the memory is that of a mutex with such a value.
    ///
    /// # Errors
    ///
    /// Fails if it has another size, or was made for something else.
    pub(super) fn check<T: Pod>(&self) -> Result<(), SharedError> {
        let found = self.0.len();
        if size::<T>() != Some(found) {
            return Err(SharedError::Size { expected: size::<T>().unwrap_or(usize::MAX), found });
        }
        if self.0.word(KIND).load(Relaxed) != kind::<T>() {
            return Err(SharedError::Content);
        }
        Ok(())
    }

    fn word(&self) -> &AtomicU64 {
        self.0.word(WORD)
    }

    /// Returns the number of the holder; 0 if the lock is free.
    pub(super) fn owner(&self) -> u64 {
        self.word().load(Relaxed) & OWNER
    }

    /// Takes the lock for `own` if it is free.
    #[inline]
    pub(super) fn try_take(&self, own: u64, has_waited: bool) -> Attempt {
        let mut seen = 0;
        loop {
            // Others may sleep beside a process that has waited; only an earlier holder knew of
            // them.
            let waiting = if has_waited { WAITING } else { seen & WAITING };
            match self.word().compare_exchange(seen, own | seen & DIED | waiting, Acquire, Relaxed)
            {
                Ok(before) if before & DIED == 0 => return Attempt::Taken(Before::Released),
                Ok(_) => return Attempt::Taken(Before::Died),
                Err(now) if now & OWNER != 0 => return Attempt::Held(now & OWNER),
                Err(now) if now & RESERVED != 0 && !has_waited => return Attempt::Reserved,
                Err(now) => seen = now,
            }
        }
    }

    /// Takes the lock for `own` from a dead holder; false if that is not the holder any more.
    pub(super) fn take_over(&self, own: u64, dead: u64) -> bool {
        let take = |now: u64| (now & OWNER == dead).then_some(own | DIED | WAITING);
        self.word().fetch_update(Acquire, Relaxed, take).is_ok()
    }

    /// Makes the holder wake a waiter when it releases the lock, and reserve the lock for those who
    /// wait if the caller `has_waited` before; false if the lock is free.
    #[must_use]
    pub(super) fn request_wake(&self, has_waited: bool) -> bool {
        let more = if has_waited { WAITING | RESERVED } else { WAITING };
        let request = |now: u64| (now & OWNER != 0).then_some(now | more);
        self.word().fetch_update(Relaxed, Relaxed, request).is_ok()
    }

    /// Releases the lock that `own` holds; returns true if the caller must wake a waiter.
    #[must_use]
    #[inline]
    pub(super) fn release(&self, own: u64) -> bool {
        let mut seen = own;
        loop {
            let reserved = if seen & WAITING != 0 { seen & RESERVED } else { 0 };
            match self.word().compare_exchange(seen, seen & DIED | reserved, Release, Relaxed) {
                Ok(before) => return before & WAITING != 0,
                // Another process has overwritten the word, so the lock is not ours to release.
                Err(now) if now & OWNER != own => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Records that the value is consistent again.
    pub(super) fn recover(&self) {
        self.word().fetch_and(!DIED, AcqRel);
    }

    fn copy_at<T>(&self, copy: u64) -> impl Iterator<Item = &AtomicU64> {
        let begin = VALUE + (copy & 1) as usize * stride::<T>();
        (begin..begin + stride::<T>()).step_by(8).map(|offset| self.0.word(offset))
    }

    /// Returns the value, for the holder. If other processes write to it meanwhile, the result
    /// mixes their bytes.
    pub(super) fn get<T: Pod>(&self) -> T {
        let mut value = T::zeroed();
        let active = self.0.word(ACTIVE).load(Acquire);
        let pieces = bytemuck::bytes_of_mut(&mut value).chunks_mut(8);
        for (piece, word) in pieces.zip(self.copy_at::<T>(active)) {
            piece.copy_from_slice(&word.load(Relaxed).to_ne_bytes()[..piece.len()]);
        }
        value
    }

    /// Replaces the value, for the holder.
    pub(super) fn set<T: Pod>(&self, value: T) {
        let other = self.0.word(ACTIVE).load(Relaxed) & 1 ^ 1;
        self.write_copy(other, &value);
        self.0.word(ACTIVE).store(other, Release);
    }

    fn write_copy<T: Pod>(&self, copy: u64, value: &T) {
        for (piece, word) in bytemuck::bytes_of(value).chunks(8).zip(self.copy_at::<T>(copy)) {
            let mut bytes = [0; 8];
            bytes[..piece.len()].copy_from_slice(piece);
            word.store(u64::from_ne_bytes(bytes), Relaxed);
        }
    }
}

const fn stride<T>() -> usize {
    size_of::<T>().next_multiple_of(8)
}

fn size<T>() -> Option<usize> {
    let value = size_of::<T>().checked_next_multiple_of(8)?;
    value.checked_mul(2)?.checked_add(VALUE).filter(|bytes| *bytes <= isize::MAX as usize)
}

/// The type of a mutex's memory, by which its fingerprint differs from that of other shared memory.
struct Kind<T>(T);

fn kind<T>() -> u64 {
    fingerprint::<Kind<T>>(size_of::<T>())
}

/// Makes an attachment's number from random bits.
pub(super) fn owner_from(random: u64) -> u64 {
    (random & OWNER).max(1)
}
