//! Permits between processes: none is lost or taken twice, and nobody sleeps beside one. What is written here does what
//! `Semaphore::acquire_until` does.

use std::cell::Cell;
use std::sync::Mutex;

use loom::cell::UnsafeCell;

use super::state::{self, Sleeper};
use crate::check;
use crate::sys::life;
use crate::sys::semaphore::Memory;
use crate::task::wait;

struct Semaphore {
    memory: Memory,
    /// Touched by who has the only permit: loom reports two that are not ordered.
    held: UnsafeCell<u32>,
    /// How many permits were taken and not given. In a mutex of std, which is free whenever loom lets another thread run.
    kept: Mutex<u32>,
}

// SAFETY: loom reports any access that this would make unsound.
unsafe impl Send for Semaphore {}
// SAFETY: as above.
unsafe impl Sync for Semaphore {}

fn semaphore(permits: u32) -> Semaphore {
    Semaphore { memory: Memory::new(permits), held: UnsafeCell::new(0), kept: Mutex::default() }
}

impl Semaphore {
    fn acquire(&self) {
        if state::try_take(&self.memory) {
            return;
        }
        let mut sleeper = Sleeper::new(&self.memory);
        loop {
            wait::for_word(self.memory.futex(), 0, None).expect("nobody cancels it");
            if sleeper.take() {
                return;
            }
        }
    }

    /// Its wait is ended from outside, at whatever moment the others have come to.
    fn acquire_interrupted(&self) -> bool {
        state::try_take(&self.memory) || Sleeper::new(&self.memory).take()
    }

    /// As the one above, but it may have been woken before.
    fn acquire_and_give_up(&self) -> bool {
        if state::try_take(&self.memory) {
            return true;
        }
        let mut sleeper = Sleeper::new(&self.memory);
        wait::for_word(self.memory.futex(), 0, None).expect("nobody cancels it");
        sleeper.take()
    }

    fn give(&self, n: u32) {
        assert!(state::release(&self.memory, n));
    }

    fn keep(&self) {
        *self.kept.lock().unwrap() += 1;
    }

    /// Takes a permit and keeps it.
    fn take(&self) {
        self.acquire();
        self.keep();
    }

    fn take_and_give(&self) {
        self.acquire();
        // SAFETY: it has the only permit, or loom reports it.
        self.held.with_mut(|held| unsafe { *held += 1 });
        self.give(1);
    }

    fn assert_permits(&self, all: u32) {
        let kept = *self.kept.lock().unwrap();
        assert_eq!(state::available(&self.memory) + kept, all);
        assert_eq!(self.memory.word().load(std::sync::atomic::Ordering::Relaxed) >> 32, 0);
    }
}

#[test]
fn one_permit_has_one_holder() {
    check(
        2,
        || semaphore(1),
        &[Semaphore::take_and_give, |semaphore| {
            semaphore.take_and_give();
            semaphore.take_and_give();
        }],
        |semaphore| semaphore.assert_permits(1),
    );
    check(
        2,
        || semaphore(1),
        &[Semaphore::take_and_give, Semaphore::take_and_give, Semaphore::take_and_give],
        |semaphore| semaphore.assert_permits(1),
    );
}

#[test]
fn each_permit_that_is_given_wakes_one() {
    check(
        2,
        || semaphore(0),
        &[Semaphore::take, Semaphore::take, |semaphore| semaphore.give(2)],
        |semaphore| semaphore.assert_permits(2),
    );
    check(
        2,
        || semaphore(0),
        &[Semaphore::take, Semaphore::take, |semaphore| {
            semaphore.give(1);
            semaphore.give(1);
        }],
        |semaphore| semaphore.assert_permits(2),
    );
}

#[test]
fn who_gives_up_passes_its_wake_up_on() {
    check(
        2,
        || semaphore(0),
        &[
            Semaphore::take,
            |semaphore| {
                if semaphore.acquire_interrupted() {
                    semaphore.give(1);
                }
            },
            |semaphore| semaphore.give(1),
        ],
        |semaphore| semaphore.assert_permits(1),
    );
    check(
        2,
        || semaphore(0),
        &[
            Semaphore::take,
            |semaphore| {
                if semaphore.acquire_and_give_up() {
                    semaphore.give(1);
                }
            },
            |semaphore| semaphore.give(2),
        ],
        |semaphore| semaphore.assert_permits(2),
    );
}

std::thread_local! {
    /// After how many accesses somebody dies, and whether somebody has. All threads of a model run on one thread of the
    /// system.
    static AFTER: Cell<u32> = const { Cell::new(0) };
    static HAS_DIED: Cell<bool> = const { Cell::new(false) };
}

/// It takes one permit, or one wake-up, along.
#[test]
fn who_is_killed_at_any_step_costs_the_others_no_more_than_one_permit() {
    for accesses in 0.. {
        AFTER.set(accesses);
        HAS_DIED.set(false);
        check(
            1,
            || semaphore(0),
            &[
                Semaphore::take,
                |semaphore| {
                    let died = life::killed_after(AFTER.get(), || semaphore.acquire());
                    HAS_DIED.set(HAS_DIED.get() || died);
                },
                |semaphore| {
                    semaphore.give(1);
                    semaphore.give(1);
                },
            ],
            |semaphore| {
                let available = state::available(&semaphore.memory);
                assert!(available <= u32::from(HAS_DIED.get()), "{available}");
            },
        );
        if !HAS_DIED.get() {
            assert!(accesses > 2, "somebody has died");
            return;
        }
    }
}
