//! Stands in for `src/sys/io/reopen.rs`: the one bell of a model.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::sys::atomic::AtomicU32;
use crate::sys::futex::{self, Word};
use crate::sys::life;

std::thread_local! {
    /// The bell of a model. All threads of a model run on one thread of the system.
    static BELL: RefCell<Option<Arc<AtomicU32>>> = const { RefCell::new(None) };
}

fn the_bell() -> Arc<AtomicU32> {
    BELL.with_borrow(|bell| Arc::clone(bell.as_ref().expect("the model has one")))
}

/// Makes the bell, before the model starts its threads.
pub(crate) fn hang_bell() {
    BELL.set(Some(Arc::new(AtomicU32::new(0))));
}

/// Drops the bell, before the model ends.
pub(crate) fn take_bell_down() {
    BELL.take();
}

pub(crate) fn ring_for_all(_: BorrowedFd<'_>) {
    if life::step() {
        let bell = the_bell();
        bell.count();
        bell.bed().wake(usize::MAX);
    }
}

/// Returns how often the bell has rung.
pub(crate) fn rung() -> u32 {
    the_bell().value()
}

/// Sleeps until the bell has rung more often. May return early.
pub(crate) fn hear(rung: u32) {
    futex::wait(&*the_bell(), rung);
}
