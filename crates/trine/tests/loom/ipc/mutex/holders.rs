//! The lock between processes: one holder at a time, a value that is whole, and a death that
//! exactly the next holder learns of. The code here mirrors `attachment.rs` and `lock.rs`.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::task::Waker;

use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU32;

use super::state::{Attempt, Before, Memory};
use crate::check;
use crate::sys::life;
use crate::sys::time::{self, Naps};
use crate::task::park;

type Value = [u64; 2];

/// A mutex, as the processes 1, 2 and 3 see it.
struct Lock {
    memory: Memory,
    bell: Bell,
    /// The kernel's lock on the byte of each number: 1 while the process lives, or another one
    /// probes it.
    bytes: [AtomicU32; 4],
    /// Touched by the holder only: loom reports two accesses that are not ordered.
    held: UnsafeCell<()>,
    /// The number of holders that have died, and of holders that learned of it. Mutexes of std are
    /// free whenever loom lets another thread run.
    died: Mutex<u32>,
    informed: Mutex<u32>,
    set: Mutex<u64>,
}

// SAFETY: loom reports any access that this would make unsound.
unsafe impl Send for Lock {}
// SAFETY: as above.
unsafe impl Sync for Lock {}

/// A pipe: the process that releases the lock writes into it, and one of the waiters empties it.
#[derive(Default)]
struct Bell {
    /// Each call accesses this, so that loom orders the calls.
    steps: AtomicU32,
    /// The number of bytes in the pipe, and its waiters.
    state: Mutex<(u32, Vec<Waker>)>,
}

impl Bell {
    fn ring(&self) {
        if life::step() {
            self.steps.fetch_add(1, AcqRel);
            let mut state = self.state.lock().unwrap();
            state.0 += 1;
            let waiting = std::mem::take(&mut state.1);
            drop(state);
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// Empties the pipe; returns true if it held something.
    fn quiet(&self) -> bool {
        self.steps.fetch_add(1, AcqRel);
        std::mem::take(&mut self.state.lock().unwrap().0) > 0
    }

    fn wait(&self) {
        while !self.quiet() {
            self.state.lock().unwrap().1.push(park::waker());
            park::rest();
        }
    }
}

std::thread_local! {
    /// The number of accesses after which a process dies, and whether one has died. All threads of
    /// a model run on one system thread.
    static AFTER: Cell<u32> = const { Cell::new(0) };
    static HAS_DIED: Cell<bool> = const { Cell::new(false) };
    /// True if waiters look again after a time.
    static PROBES: Cell<bool> = const { Cell::new(false) };
}

fn lock() -> Lock {
    Lock {
        memory: Memory::new::<Value>([0, 0]).expect("there is memory"),
        bell: Bell::default(),
        bytes: [0, 1, 1, 1].map(AtomicU32::new),
        held: UnsafeCell::new(()),
        died: Mutex::default(),
        informed: Mutex::default(),
        set: Mutex::default(),
    }
}

impl Lock {
    fn take(&self, own: u64) -> Before {
        if let Attempt::Taken(before) = self.memory.try_take(own, false) {
            return before;
        }
        let mut has_waited = false;
        let mut naps = Naps::new();
        loop {
            match self.memory.try_take(own, has_waited) {
                Attempt::Taken(before) => return before,
                Attempt::Held(owner) if self.take_from_dead(own, owner) => return Before::Died,
                Attempt::Held(_) => {
                    if self.memory.request_wake(has_waited) {
                        self.wait_for_bell(&mut naps);
                        has_waited = true;
                    }
                }
                Attempt::Reserved => {
                    loom::thread::yield_now();
                    has_waited = true;
                }
            }
        }
    }

    fn wait_for_bell(&self, naps: &mut Naps) {
        if PROBES.get() {
            self.bell.quiet();
            naps.sleep();
        } else {
            self.bell.wait();
        }
    }

    fn take_from_dead(&self, own: u64, owner: u64) -> bool {
        let byte = &self.bytes[owner as usize];
        if !life::step() || byte.compare_exchange(0, 1, AcqRel, Acquire).is_err() {
            return false;
        }
        let taken = self.memory.take_over(own, owner);
        byte.swap(0, Release);
        taken
    }

    fn release(&self, own: u64) {
        if self.memory.release(own) {
            self.bell.ring();
        }
    }

    /// Tries to lock, and stops waiting at once.
    fn try_for_a_while(&self, own: u64) -> bool {
        if let Attempt::Taken(_) = self.memory.try_take(own, false) {
            return true;
        }
        if self.memory.request_wake(false) {
            // Time passes here in which it waits.
            self.bell.quiet();
            if let Attempt::Taken(_) = self.memory.try_take(own, true) {
                return true;
            }
            if !self.memory.request_wake(false) {
                self.bell.ring();
            }
        }
        false
    }

    /// Increments the value, as its holder.
    fn count(&self) {
        if life::step() {
            self.held.with_mut(|_| ());
        }
        let [first, second] = self.memory.get::<Value>();
        assert_eq!(first, second, "half a value");
        self.memory.set::<Value>([first + 1; 2]);
        *self.set.lock().unwrap() += 1;
    }

    fn count_up(&self, own: u64) {
        let before = self.take(own);
        if before == Before::Died {
            *self.informed.lock().unwrap() += 1;
            self.memory.recover();
        }
        self.count();
        self.release(own);
    }

    /// Runs `count_up`, killed at one of its steps.
    fn count_up_and_die(&self, own: u64) {
        if life::killed_after(AFTER.get(), || self.count_up(own)) {
            HAS_DIED.set(true);
            if self.memory.owner() == own {
                *self.died.lock().unwrap() += 1;
            }
            self.bytes[own as usize].swap(0, Release);
            time::change();
        }
    }

    fn assert_counted(&self) {
        let counted = *self.set.lock().unwrap();
        let [first, second] = self.memory.get::<Value>();
        assert_eq!(first, second);
        // A killed process may have set the value without recording it.
        let unrecorded = u64::from(HAS_DIED.get());
        assert!((counted..=counted + unrecorded).contains(&first), "{first} of {counted}");
    }
}

#[test]
fn two_lock_twice() {
    check(
        3,
        lock,
        &[
            |lock| (0..2).for_each(|_| lock.count_up(1)),
            |lock| (0..2).for_each(|_| lock.count_up(2)),
        ],
        Lock::assert_counted,
    );
}

#[test]
fn three_lock_once() {
    check(
        2,
        lock,
        &[|lock| lock.count_up(1), |lock| lock.count_up(2), |lock| lock.count_up(3)],
        Lock::assert_counted,
    );
}

#[test]
fn one_stops_waiting_beside_two() {
    check(
        2,
        lock,
        &[
            |lock| lock.count_up(1),
            |lock| lock.count_up(2),
            |lock| {
                if lock.try_for_a_while(3) {
                    lock.count();
                    lock.release(3);
                }
            },
        ],
        Lock::assert_counted,
    );
}

#[test]
fn exactly_the_next_holder_learns_of_a_death_at_any_step() {
    for accesses in 0.. {
        AFTER.set(accesses);
        HAS_DIED.set(false);
        PROBES.set(true);
        check(
            2,
            lock,
            &[|lock| lock.count_up(1), |lock| lock.count_up(2), |lock| lock.count_up_and_die(3)],
            |lock| {
                lock.assert_counted();
                if lock.memory.owner() == 0 {
                    assert_eq!(*lock.died.lock().unwrap(), *lock.informed.lock().unwrap());
                } else {
                    // No process has taken the lock since.
                    assert_eq!(lock.take(1), Before::Died);
                }
            },
        );
        if !HAS_DIED.get() {
            assert!(accesses > 5, "a process has died");
            return;
        }
    }
}
