//! Models of `src/sync/once`: one initialiser at a time, no lost wake-up, and a value that all see.

use crate::check;
use crate::sync::once::{Once, OnceLock};
use crate::task::park;

/// A cell, an initialisation without a value, and a number that loom watches: the initialisers
/// change it, all others read it.
struct Watched {
    cell: OnceLock<u32>,
    once: Once,
    runs: loom::cell::UnsafeCell<u32>,
}

// SAFETY: loom reports any access that this would make unsound.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

impl Watched {
    fn new() -> Watched {
        Watched { cell: OnceLock::new(), once: Once::new(), runs: loom::cell::UnsafeCell::new(0) }
    }

    /// Counts a run of an initialiser.
    fn run(&self) -> u32 {
        // SAFETY: loom reports a second access at the same time.
        self.runs.with_mut(|runs| unsafe {
            *runs += 1;
            *runs
        })
    }

    /// Returns the number of runs; an error of loom if they are not ordered before.
    fn runs(&self) -> u32 {
        // SAFETY: as above.
        self.runs.with(|runs| unsafe { *runs })
    }
}

fn make(watched: &Watched) {
    assert_eq!(*watched.cell.get_or_init(|| watched.run()), watched.runs());
}

fn wait(watched: &Watched) {
    assert_eq!(*watched.cell.wait(), watched.runs());
}

fn look(watched: &Watched) {
    if let Some(value) = watched.cell.get() {
        assert_eq!(*value, watched.runs());
    }
}

/// Fails as an initialiser does that unwinds. (Loom cannot follow a destructor that waits while it
/// unwinds.)
fn fail(watched: &Watched) {
    watched.once.call(&mut || {
        watched.run();
        false
    });
}

fn call(watched: &Watched) {
    watched.once.call_once(|| _ = watched.run());
    assert!(watched.runs() > 0);
}

fn wait_for_call(watched: &Watched) {
    watched.once.wait();
    assert!(watched.runs() > 0);
}

fn make_unless_interrupted(watched: &Watched) {
    let made = park::interrupted(|| *watched.cell.get_or_init(|| watched.run()));
    if let Some(value) = made {
        assert_eq!(value, watched.runs());
    }
}

#[test]
fn three_make_a_value_once() {
    check(3, Watched::new, &[make, make, make], |watched| assert_eq!(watched.runs(), 1));
}

#[test]
fn two_wait_for_the_one_that_makes_the_value() {
    check(3, Watched::new, &[wait, make, wait], |watched| assert_eq!(watched.runs(), 1));
}

#[test]
fn a_look_finds_a_whole_value_or_none() {
    check(3, Watched::new, &[look, make, make], |watched| assert_eq!(watched.runs(), 1));
}

#[test]
fn another_makes_the_value_after_an_initialiser_has_unwound() {
    check(3, Watched::new, &[fail, call, call], |watched| {
        assert!(matches!(watched.runs(), 1 | 2) && watched.once.is_completed());
    });
}

#[test]
fn an_initialiser_that_unwinds_leaves_no_waiter_asleep() {
    check(3, Watched::new, &[fail, call, wait_for_call], |watched| {
        assert!(matches!(watched.runs(), 1 | 2) && watched.once.is_completed());
    });
}

#[test]
fn an_interrupted_wait_leaves_the_others_in_the_queue() {
    check(3, Watched::new, &[make_unless_interrupted, make, make], |watched| {
        assert_eq!(watched.runs(), 1);
    });
}
