//! The stack cache of the calling thread.

use std::cell::{Cell, RefCell};
use std::ptr;

use super::StackCache;
use crate::coroutine::carrier;

thread_local! {
    /// The cache of a thread that has no carrier, from a `Box`. Null before the thread's first
    /// generator and after its end. Without a destructor, so that a signal handler may read it.
    static CACHE: Cell<*const RefCell<StackCache>> = const { Cell::new(ptr::null()) };
}

/// Returns the calling thread's cache, if it has one: its carrier's or its own.
#[inline]
pub(super) fn cache<'a>() -> Option<&'a RefCell<StackCache>> {
    match carrier::current() {
        Some(carrier) => Some(carrier.stacks()),
        // SAFETY: null, or the cache of this thread, which is freed at its end. The callers do not
        // use it after they return.
        None => unsafe { CACHE.get().as_ref() },
    }
}

/// Gives `cache` to the calling thread, which has none.
pub(super) fn set(cache: StackCache) {
    CACHE.set(Box::into_raw(Box::new(RefCell::new(cache))));
}

/// Takes the cache that [`set`] gave to the calling thread.
pub(super) fn take() -> Option<StackCache> {
    let cache = CACHE.replace(ptr::null()).cast_mut();
    // SAFETY: the pointer comes from `Box::into_raw` in `set`, and `cache` cannot return it any
    // more.
    (!cache.is_null()).then(|| unsafe { Box::from_raw(cache) }.into_inner())
}

/// Returns the bytes of a stack of this thread below `address`, down to its guard.
pub(super) fn room_below(address: usize) -> Option<usize> {
    cache()?.try_borrow().ok()?.room_below(address)
}

/// Returns the size of the stack of this thread whose guard holds `address`, if there is one.
/// For signal handlers.
pub(super) fn size_above_guard(address: usize) -> Option<usize> {
    cache()?.try_borrow().ok()?.size_above_guard(address)
}
