//! Permits between processes: none is lost or taken twice, and no process sleeps beside a free one.
//! The code here mirrors `Semaphore::acquire_until`.

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
    /// Touched by the holder of the only permit: loom reports two accesses that are not ordered.
    held: UnsafeCell<u32>,
    /// The number of permits that were taken and not released. A mutex of std is free whenever loom
    /// lets another thread run.
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
            wait::for_word(self.memory.futex(), 0, None).expect("it is not cancelled");
            if sleeper.take() {
                return;
            }
        }
    }

    /// Acquires with a wait that is interrupted, whatever the other processes do meanwhile.
    fn acquire_interrupted(&self) -> bool {
        state::try_take(&self.memory) || Sleeper::new(&self.memory).take()
    }

    /// Acquires with a wait that is interrupted after a wake-up.
    fn acquire_and_stop_waiting(&self) -> bool {
        if state::try_take(&self.memory) {
            return true;
        }
        let mut sleeper = Sleeper::new(&self.memory);
        wait::for_word(self.memory.futex(), 0, None).expect("it is not cancelled");
        sleeper.take()
    }

    fn release(&self, n: u32) {
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

    fn take_and_release(&self) {
        self.acquire();
        // SAFETY: this process has the only permit, or loom reports it.
        self.held.with_mut(|held| unsafe { *held += 1 });
        self.release(1);
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
        &[Semaphore::take_and_release, |semaphore| {
            semaphore.take_and_release();
            semaphore.take_and_release();
        }],
        |semaphore| semaphore.assert_permits(1),
    );
    check(
        2,
        || semaphore(1),
        &[Semaphore::take_and_release, Semaphore::take_and_release, Semaphore::take_and_release],
        |semaphore| semaphore.assert_permits(1),
    );
}

#[test]
fn each_permit_that_is_released_wakes_a_sleeper() {
    check(
        2,
        || semaphore(0),
        &[Semaphore::take, Semaphore::take, |semaphore| semaphore.release(2)],
        |semaphore| semaphore.assert_permits(2),
    );
    check(
        2,
        || semaphore(0),
        &[Semaphore::take, Semaphore::take, |semaphore| {
            semaphore.release(1);
            semaphore.release(1);
        }],
        |semaphore| semaphore.assert_permits(2),
    );
}

#[test]
fn a_sleeper_that_stops_waiting_passes_its_wake_up_on() {
    check(
        2,
        || semaphore(0),
        &[
            Semaphore::take,
            |semaphore| {
                if semaphore.acquire_interrupted() {
                    semaphore.release(1);
                }
            },
            |semaphore| semaphore.release(1),
        ],
        |semaphore| semaphore.assert_permits(1),
    );
    check(
        2,
        || semaphore(0),
        &[
            Semaphore::take,
            |semaphore| {
                if semaphore.acquire_and_stop_waiting() {
                    semaphore.release(1);
                }
            },
            |semaphore| semaphore.release(2),
        ],
        |semaphore| semaphore.assert_permits(2),
    );
}

std::thread_local! {
    /// The number of accesses after which a process dies, and whether one has died. All threads of
    /// a model run on one system thread.
    static AFTER: Cell<u32> = const { Cell::new(0) };
    static HAS_DIED: Cell<bool> = const { Cell::new(false) };
}

/// The killed process may consume one permit, or one wake-up.
#[test]
fn a_process_killed_at_any_step_costs_at_most_one_permit() {
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
                    semaphore.release(1);
                    semaphore.release(1);
                },
            ],
            |semaphore| {
                let available = state::available(&semaphore.memory);
                assert!(available <= u32::from(HAS_DIED.get()), "{available}");
            },
        );
        if !HAS_DIED.get() {
            assert!(accesses > 2, "a process has died");
            return;
        }
    }
}
