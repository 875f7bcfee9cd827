//! Waiting for events.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use trine::{State, Task, coroutine};

/// Far longer than any event takes, however busy the machine is.
pub const TIMEOUT: Duration = Duration::from_secs(120);

/// Returns one second, multiplied by the load per core on a machine that is overloaded.
pub fn a_second() -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let load: f64 = load.split(' ').next().unwrap().parse().unwrap();
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    Duration::from_secs(1).mul_f64((load / cores).max(1.0))
}

/// Returns when `holds` returns true.
///
/// # Panics
///
/// If that takes longer than [`TIMEOUT`].
#[track_caller]
pub fn until(holds: impl FnMut() -> bool) {
    until_or("the condition", holds);
}

/// Waits as [`until`] does. A panic names `what`.
#[track_caller]
pub fn until_or(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    for turn in 0_u64.. {
        if holds() {
            return;
        }
        assert!(begin.elapsed() < TIMEOUT, "waited {TIMEOUT:?} in vain: {what}");
        // The caller may be on the only carrier.
        coroutine::yield_now();
        if turn > 100 {
            std::thread::sleep(Duration::from_millis(1));
        } else {
            std::thread::yield_now();
        }
    }
}

/// Returns when `task` waits.
#[track_caller]
pub fn until_waiting<T>(task: &Task<T>) {
    until_or("the task's wait", || task.state() == State::Waiting);
}

/// Returns when `task` waits or has ended. A coroutine then waits in a call of trine. A thread may
/// still be on its way there, and wait in the kernel.
#[track_caller]
pub fn until_it_waits<T>(task: &Task<T>) {
    until_or("the task's wait or end", || task.state() == State::Waiting || task.is_finished());
}

/// Calls `look` in a coroutine.
///
/// # Panics
///
/// If another coroutine that is ready beside it runs meanwhile. The panic names `what`.
#[track_caller]
pub fn keeps_its_turn(what: &str, look: impl FnOnce() + 'static) {
    // The turn of the caller begins here, with its whole budget.
    coroutine::yield_now();
    let ran = Rc::new(Cell::new(false));
    let (there, here) = (Rc::clone(&ran), Rc::clone(&ran));
    let looking = coroutine::spawn_local(move || {
        look();
        !here.get()
    });
    let other = coroutine::spawn_local(move || there.set(true));
    assert!(looking.join().unwrap(), "{what} gave the turn away");
    other.join().unwrap();
    assert!(ran.get());
}
