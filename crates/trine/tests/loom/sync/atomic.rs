//! Replaces `src/sync/atomic.rs`, with loom's atomics.
//!
//! Loom cannot make an atomic in a constant. Nor can a thread make it at its first use: the other
//! threads would not be ordered after that. So a model begins with a [`pool`] of atomics that are
//! all zero. A constant takes one of them when it is first used, and its values are stored as their
//! difference from the initial one.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LockResult, OnceLock};

pub(crate) use crate::coroutine::atomic::AtomicUsize;
pub(super) use loom::hint::spin_loop;
pub(super) use loom::sync::atomic::{AtomicU8, AtomicU32};
pub(super) use std::sync::PoisonError;
pub(super) use std::sync::atomic::Ordering;

/// Small, so that a model reaches the bound.
pub(super) const MAY_PASS: u64 = 1;
/// Spinning only repeats a look that the model has taken.
pub(super) const SPINS: u32 = 0;

/// Loom's macro accepts no constants.
macro_rules! of_thread {
    (static $name:ident: $kind:ty = const $value:block;) => {
        loom::thread_local! { static $name: $kind = $value; }
    };
}
pub(super) use of_thread as thread_local;

/// Waits until the flag is cleared, unless it was cleared and the caller has just not seen it yet.
/// Loom would follow two threads that look again and again without end.
pub(super) fn pause(flag: &AtomicBool, _: u32) {
    if flag.last.load(Ordering::SeqCst) {
        let token = Arc::new(loom::sync::Notify::new());
        flag.looking.lock().unwrap().push(Arc::clone(&token));
        token.wait();
    } else {
        loom::thread::yield_now();
    }
}

/// The atomics and locks of a model.
pub(crate) mod pool {
    use std::cell::RefCell;
    use std::sync::Arc;

    pub(super) type Word = Arc<loom::sync::atomic::AtomicU64>;
    pub(super) type Lock = Arc<loom::sync::Mutex<()>>;

    std::thread_local! {
        // All threads of a model run on one thread of the system.
        static WORDS: RefCell<Vec<Word>> = const { RefCell::new(Vec::new()) };
        static LOCKS: RefCell<Vec<Lock>> = const { RefCell::new(Vec::new()) };
    }

    /// Fills the pool, before the model starts its threads.
    pub(crate) fn fill() {
        WORDS.set((0..16).map(|_| Arc::default()).collect());
        LOCKS.set((0..4).map(|_| Arc::default()).collect());
    }

    /// Empties it, before the model ends.
    pub(crate) fn clear() {
        WORDS.take();
        LOCKS.take();
    }

    pub(super) fn word() -> Word {
        WORDS.with_borrow_mut(|words| words.pop()).expect("the pool is large enough")
    }

    pub(super) fn lock() -> Lock {
        LOCKS.with_borrow_mut(|locks| locks.pop()).expect("the pool is large enough")
    }
}

pub(super) struct AtomicU64 {
    first: u64,
    word: OnceLock<pool::Word>,
}

impl AtomicU64 {
    pub(super) const fn new(first: u64) -> AtomicU64 {
        AtomicU64 { first, word: OnceLock::new() }
    }

    fn word(&self) -> &loom::sync::atomic::AtomicU64 {
        self.word.get_or_init(pool::word)
    }

    pub(super) fn load(&self, order: Ordering) -> u64 {
        self.word().load(order) ^ self.first
    }

    pub(super) fn store(&self, value: u64, order: Ordering) {
        self.word().store(value ^ self.first, order);
    }

    pub(super) fn compare_exchange(
        &self,
        old: u64,
        new: u64,
        done: Ordering,
        failed: Ordering,
    ) -> Result<u64, u64> {
        let (old, new) = (old ^ self.first, new ^ self.first);
        match self.word().compare_exchange(old, new, done, failed) {
            Ok(seen) => Ok(seen ^ self.first),
            Err(seen) => Err(seen ^ self.first),
        }
    }

    pub(super) fn compare_exchange_weak(
        &self,
        old: u64,
        new: u64,
        done: Ordering,
        failed: Ordering,
    ) -> Result<u64, u64> {
        self.compare_exchange(old, new, done, failed)
    }
}

/// An atomic that is false at first.
pub(super) struct AtomicBool {
    word: OnceLock<pool::Word>,
    /// The last written value. An atomic of std: loom does not see it, so it orders nothing.
    last: std::sync::atomic::AtomicBool,
    /// The threads in [`pause`]. In a mutex of std, which is free whenever loom lets another thread
    /// run.
    looking: std::sync::Mutex<Vec<Arc<loom::sync::Notify>>>,
}

impl AtomicBool {
    pub(super) const fn new(first: bool) -> AtomicBool {
        assert!(!first);
        AtomicBool {
            word: OnceLock::new(),
            last: std::sync::atomic::AtomicBool::new(false),
            looking: std::sync::Mutex::new(Vec::new()),
        }
    }

    fn word(&self) -> &loom::sync::atomic::AtomicU64 {
        self.word.get_or_init(pool::word)
    }

    pub(super) fn load(&self, order: Ordering) -> bool {
        self.word().load(order) != 0
    }

    pub(super) fn store(&self, value: bool, order: Ordering) {
        self.word().store(value.into(), order);
        self.last.store(value, Ordering::SeqCst);
        let looking = std::mem::take(&mut *self.looking.lock().unwrap());
        looking.iter().for_each(|token| token.notify());
    }

    pub(super) fn compare_exchange(
        &self,
        old: bool,
        new: bool,
        done: Ordering,
        failed: Ordering,
    ) -> Result<bool, bool> {
        match self.word().compare_exchange(old.into(), new.into(), done, failed) {
            Ok(_) => {
                self.last.store(new, Ordering::SeqCst);
                Ok(old)
            }
            Err(_) => Err(!old),
        }
    }

    pub(super) fn swap(&self, value: bool, order: Ordering) -> bool {
        let before = self.word().swap(value.into(), order) != 0;
        self.last.store(value, Ordering::SeqCst);
        before
    }
}

pub(super) struct Mutex<T> {
    value: UnsafeCell<T>,
    lock: OnceLock<pool::Lock>,
}

// SAFETY: the value is touched under the lock.
unsafe impl<T: Send> Sync for Mutex<T> {}

pub(super) struct MutexGuard<'a, T> {
    value: *mut T,
    _lock: loom::sync::MutexGuard<'a, ()>,
}

impl<T> Mutex<T> {
    pub(super) const fn new(value: T) -> Mutex<T> {
        Mutex { value: UnsafeCell::new(value), lock: OnceLock::new() }
    }

    pub(super) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let lock = self.lock.get_or_init(pool::lock).lock().expect("no model panics under it");
        Ok(MutexGuard { value: self.value.get(), _lock: lock })
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the lock.
        unsafe { &*self.value }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the lock.
        unsafe { &mut *self.value }
    }
}
