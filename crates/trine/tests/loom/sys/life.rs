//! Death at any step: a thread of a model stops before one of its accesses of shared memory, and
//! makes no access after that.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

const IMMORTAL: u32 = u32::MAX;
const DEAD: u32 = u32::MAX - 1;

loom::thread_local! {
    /// The number of accesses that the thread makes before it dies.
    static LEFT: Cell<u32> = Cell::new(IMMORTAL);
}

struct Killed;

/// Begins an access of shared memory. Returns false if the thread is dead, and only its destructors
/// run.
#[must_use = "the dead do nothing"]
pub(crate) fn step() -> bool {
    let left = LEFT.with(Cell::get);
    match left {
        IMMORTAL => return true,
        DEAD => return false,
        0 => {
            LEFT.with(|left| left.set(DEAD));
            resume_unwind(Box::new(Killed));
        }
        _ => LEFT.with(|cell| cell.set(left - 1)),
    }
    true
}

/// Runs `f`, which is killed after this many accesses. Returns false if it has ended before.
pub(crate) fn killed_after(accesses: u32, f: impl FnOnce()) -> bool {
    LEFT.with(|left| left.set(accesses));
    let ended = catch_unwind(AssertUnwindSafe(f));
    LEFT.with(|left| left.set(IMMORTAL));
    match ended {
        Ok(()) => false,
        Err(payload) if payload.is::<Killed>() => true,
        Err(payload) => resume_unwind(payload),
    }
}
