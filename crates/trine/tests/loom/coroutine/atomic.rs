//! Loom's atomic, which fails when it is used after its task was freed.

use std::cell::Cell;
use std::sync::atomic::Ordering;

std::thread_local! {
    /// All threads of a model run on one thread of the system.
    static FREED: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn set_freed(freed: bool) {
    FREED.set(freed);
}

pub(crate) fn is_freed() -> bool {
    FREED.get()
}

#[derive(Debug)]
pub(crate) struct AtomicUsize(loom::sync::atomic::AtomicUsize);

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $result:ty;)*) => {
        impl AtomicUsize {
            $(pub(crate) fn $name(&self, $($arg: $type),*) -> $result {
                let result = self.0.$name($($arg),*);
                assert!(!is_freed(), "the word of a task that was freed");
                result
            })*
        }
    };
}

forward! {
    load(order: Ordering) -> usize;
    store(n: usize, order: Ordering) -> ();
    fetch_add(n: usize, order: Ordering) -> usize;
    fetch_sub(n: usize, order: Ordering) -> usize;
    fetch_or(bits: usize, order: Ordering) -> usize;
    fetch_and(bits: usize, order: Ordering) -> usize;
    fetch_xor(bits: usize, order: Ordering) -> usize;
    compare_exchange(now: usize, next: usize, ok: Ordering, err: Ordering) -> Result<usize, usize>;
    compare_exchange_weak(now: usize, next: usize, ok: Ordering, err: Ordering)
        -> Result<usize, usize>;
}

impl AtomicUsize {
    pub(crate) fn new(word: usize) -> AtomicUsize {
        AtomicUsize(loom::sync::atomic::AtomicUsize::new(word))
    }
}
