//! The stacks of whichever thread asks: a carrier's own, or a cache that any other thread gets with its
//! first generator.
//!
//! A stack never leaves its thread, so neither cache needs a lock. When a thread that is no carrier
//! ends, its cache waits for the next such thread: a generator that was forgotten may still be
//! pointed into, so its stack must stay mapped and is never given out again, and the others are
//! worth keeping.

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use super::carrier;
use super::overflow;
use super::stack::{CoStack, StackCache};
use crate::sys::signal::fault;

/// Caches of threads that have ended.
static LEFT: Mutex<Vec<StackCache>> = Mutex::new(Vec::new());

thread_local! {
    /// The cache of this thread, from a `Box`; null before its first generator and after its end.
    /// Without a destructor, so that a signal handler may look.
    static CACHE: Cell<*const RefCell<StackCache>> = const { Cell::new(ptr::null()) };
    static KEEPER: Keeper = const { Keeper };
}

/// Ends what this thread has of coroutines: leaves its stacks to others, and its unfinished local
/// coroutines for good.
struct Keeper;

impl Drop for Keeper {
    fn drop(&mut self) {
        let cache = match carrier::leave() {
            Some(carrier) => Some(carrier.stacks().replace(StackCache::new())),
            None => take_cache(),
        };
        if let Some(mut cache) = cache {
            cache.trim();
            LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(cache);
        }
    }
}

fn take_cache() -> Option<StackCache> {
    let cache = CACHE.replace(ptr::null()).cast_mut();
    // SAFETY: it came from `Box::into_raw` in `make_cache`, and nobody finds it any more.
    (!cache.is_null()).then(|| unsafe { Box::from_raw(cache) }.into_inner())
}

/// The calling thread's cache, or a new one, for the carrier that it is to have; `None` if its
/// thread-locals are already being destroyed.
pub(super) fn adopt() -> Option<StackCache> {
    KEEPER.try_with(|_| ()).ok()?;
    Some(take_cache().unwrap_or_else(left_or_new))
}

fn left_or_new() -> StackCache {
    let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner).pop();
    left.unwrap_or_else(StackCache::new)
}

/// Gives this thread a cache; nothing if its thread-locals are already being destroyed.
#[cold]
fn make_cache() {
    if KEEPER.try_with(|_| ()).is_ok() {
        overflow::install();
        fault::ensure_signal_stack();
        CACHE.set(Box::into_raw(Box::new(RefCell::new(left_or_new()))));
    }
}

/// The cache that the calling thread has, if it has one.
#[inline]
fn existing<'a>() -> Option<&'a RefCell<StackCache>> {
    match carrier::current() {
        Some(carrier) => Some(carrier.stacks()),
        // SAFETY: null, or the cache of this thread, which goes at its end; the callers below are
        // done with it before they return.
        None => unsafe { CACHE.get().as_ref() },
    }
}

/// A stack of the usual size from the calling thread's cache.
///
/// # Errors
///
/// As [`StackCache::take`].
pub(super) fn take() -> Result<CoStack, String> {
    if existing().is_none() {
        make_cache();
    }
    match existing() {
        Some(cache) => cache.borrow_mut().take(None),
        // In the destructor of a thread-local: from a cache that has no thread.
        None => {
            let mut cache = left_or_new();
            let stack = cache.take(None);
            LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(cache);
            stack
        }
    }
}

/// Takes a stack back on the thread that took it, from a context that has ended.
pub(super) fn give_back(stack: CoStack) {
    match existing() {
        Some(cache) => {
            let mut cache = cache.borrow_mut();
            cache.give_back(stack);
            if carrier::current().is_none_or(|carrier| !carrier.has_own_thread()) {
                cache.trim_if_many();
            }
        }
        // In the destructor of a thread-local: its cache may have another thread by now, so the
        // stack stays in use for good.
        None => std::mem::forget(stack),
    }
}

/// If `address` lies in the guard page of a stack of this thread: how many bytes that stack has. For
/// signal handlers.
pub(super) fn size_above_guard(address: usize) -> Option<usize> {
    existing()?.try_borrow().ok()?.size_above_guard(address)
}
