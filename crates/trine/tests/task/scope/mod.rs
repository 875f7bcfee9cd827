//! Scopes: every task ends before the scope does, and the first failure ends the others.

mod basics;
mod cancel;
mod drain;
mod failures;
mod map;
mod several;
mod try_scope;

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;

use trine::{coroutine, thread};

const FOR_GOOD: Duration = Duration::MAX;

/// Counts its drop in a borrowed counter.
struct Notes<'a>(&'a AtomicUsize);

impl Drop for Notes<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Release);
    }
}

/// Runs `f` in a coroutine, a thread and the test's own thread.
fn anywhere(f: impl Fn() + Clone + Send + 'static) {
    f();
    coroutine::spawn(f.clone()).join().unwrap();
    thread::spawn(f).join().unwrap();
}
