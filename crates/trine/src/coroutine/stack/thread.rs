//! The stacks of any calling thread: its carrier's, or a cache that another thread gets with its
//! first generator.
//!
//! A stack never leaves its thread, so neither cache needs a lock. When a thread that is no carrier
//! ends, its cache waits for the next such thread. The frames of a forgotten generator may still be
//! pointed into, so its stack must stay mapped and is never given out again; the other stacks are
//! worth keeping.

use std::sync::{Mutex, PoisonError};

use super::{CoStack, StackCache, current, overflow};
use crate::coroutine::carrier::{self, host};
use crate::coroutine::local;
use crate::sys::{signal, thread_end};

/// Caches of threads that have ended.
static ORPHANED: Mutex<Vec<StackCache>> = Mutex::new(Vec::new());

/// Ends the calling thread's part in coroutines, and leaves its stacks to other threads. Called
/// again after each destructor of a thread-local that has taken part anew.
fn end() {
    let within_a_coroutine = carrier::current().is_some_and(|carrier| carrier.running().is_some());
    if !within_a_coroutine && !thread_end::is_of_program() {
        // Before the stacks go: generators may be among the values.
        local::drop_values_of_thread();
    }
    if let Some(mut cache) = host::leave().or_else(current::take) {
        cache.trim();
        leave(cache);
    }
}

/// Sees to it that the calling thread calls [`end`] before its thread-locals are destroyed. Returns
/// false if they are already being destroyed, and that is not possible.
pub(in crate::coroutine) fn will_end() -> bool {
    thread_end::on_end(end);
    thread_end::guard();
    thread_end::is_guarded()
}

/// Leaves `cache` to the next thread that needs one.
fn leave(cache: StackCache) {
    ORPHANED.lock().unwrap_or_else(PoisonError::into_inner).push(cache);
}

fn orphaned_or_new() -> StackCache {
    let orphaned = ORPHANED.lock().unwrap_or_else(PoisonError::into_inner).pop();
    orphaned.unwrap_or_else(StackCache::new)
}

/// Returns the calling thread's cache, or a new one, for the carrier that the thread is to have.
/// `None` if its thread-locals are already being destroyed.
pub(in crate::coroutine) fn adopt() -> Option<StackCache> {
    if thread_end::era() > 0 || !will_end() {
        return None;
    }
    Some(current::take().unwrap_or_else(orphaned_or_new))
}

/// Gives this thread a cache, unless its end would not be noticed.
#[cold]
fn make_cache() {
    if will_end() {
        overflow::install();
        signal::stack::ensure();
        current::set(orphaned_or_new());
    }
}

/// Takes a stack of the usual size from the calling thread's cache.
///
/// # Errors
///
/// The same as [`StackCache::take`].
pub(in crate::coroutine) fn take() -> Result<CoStack, String> {
    if current::cache().is_none() {
        make_cache();
    }
    match current::cache() {
        Some(cache) => cache.borrow_mut().take(None),
        // In the destructor of a thread-local: from a cache that has no thread.
        None => {
            let mut cache = orphaned_or_new();
            let stack = cache.take(None);
            leave(cache);
            stack
        }
    }
}

/// Takes a stack back on the thread that took it, from a context that has ended.
pub(in crate::coroutine) fn release(stack: CoStack) {
    match current::cache() {
        Some(cache) => {
            let mut cache = cache.borrow_mut();
            cache.release(stack);
            if carrier::current().is_none_or(|carrier| !carrier.has_own_thread()) {
                cache.trim_if_many();
            }
        }
        // In the destructor of a thread-local: its cache may have another thread by now, so the
        // stack stays in use permanently.
        None => std::mem::forget(stack),
    }
}
