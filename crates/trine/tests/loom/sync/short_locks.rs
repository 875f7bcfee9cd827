//! The short lock of channels.

use super::short_lock::Lock;
use crate::check;

/// A number under the lock, which loom watches.
struct Counter {
    lock: Lock,
    number: loom::cell::UnsafeCell<u32>,
}

// SAFETY: loom reports any access that this would make unsound.
unsafe impl Send for Counter {}
// SAFETY: as above.
unsafe impl Sync for Counter {}

fn counter() -> Counter {
    Counter { lock: Lock::new(), number: loom::cell::UnsafeCell::new(0) }
}

fn add(counter: &Counter) {
    counter.lock.lock();
    // SAFETY: as above.
    counter.number.with_mut(|number| unsafe { *number += 1 });
    counter.lock.unlock();
}

fn add_twice(counter: &Counter) {
    add(counter);
    add(counter);
}

fn read(counter: &Counter) -> u32 {
    counter.lock.lock();
    // SAFETY: as above.
    let number = counter.number.with(|number| unsafe { *number });
    counter.lock.unlock();
    number
}

#[test]
fn two_lock_twice() {
    check(4, counter, &[add_twice, add_twice], |counter| assert_eq!(read(counter), 4));
}
